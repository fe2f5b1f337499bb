//! The program `daybook`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use api::application::Application;
use api::auth::Keys;
use api::backup::{self, BackupArgs, RestoreArgs};
use api::settings::{LogSettings, ServeSettings, StoreSettings};
use api::store::{Store, parse_url};
use api::telemetry;
use clap::{Args, Parser, Subcommand};
use commands::Role;
use event_store::embedded::{Cluster, Options};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A bank and a brokerage whose only record is an append-only event log in PostgreSQL.
///
/// Without a command it serves. Without settings it makes a private PostgreSQL cluster in the data folder, plays recorded
/// markets, and listens on 127.0.0.1:8080.
#[derive(Parser)]
#[command(name = "daybook", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeSettings,
    #[command(flatten)]
    log: LogSettings,
}

#[derive(Subcommand)]
enum Command {
    /// Serve GraphQL, the live page, health and metrics (the default)
    Serve(Box<ServeSettings>),
    /// Bring the database's schema up to date, as the role daybook_migrator
    Migrate(MigrateSettings),
    /// Back the log up into a new folder, while servers run or not
    ///
    /// Everything acknowledged before it begins is in it. Read models are derived from the log and left out.
    Backup {
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        backup: BackupArgs,
    },
    /// Restore a backup as a new log, into an empty data folder or database
    ///
    /// The backup is verified first; a failure leaves the log empty. The next start of the server rebuilds the read
    /// models.
    Restore {
        #[command(flatten)]
        store: StoreSettings,
        #[command(flatten)]
        restore: RestoreArgs,
    },
    /// Make, list and revoke the keys with which clients come in
    Keys {
        #[command(flatten)]
        store: StoreSettings,
        #[command(subcommand)]
        command: KeysCommand,
    },
}

#[derive(Args)]
struct MigrateSettings {
    #[command(flatten)]
    store: StoreSettings,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make a key and print it, this once; nothing can show it again
    Create {
        /// Unique; the events that the key causes bear it
        name: String,
        /// trader, operator, risk, compliance, auditor or admin
        #[arg(long)]
        role: Role,
        /// Whose things a trader may touch
        #[arg(long)]
        owner: Option<String>,
    },
    /// List all keys, never the keys themselves
    List {
        /// As JSON, one array
        #[arg(long)]
        json: bool,
    },
    /// End a key for good; servers forget it within seconds
    Revoke {
        /// Its name
        name: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = telemetry::start_log(&cli.log).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(cli))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("daybook: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => serve(cli.serve).await,
        Some(Command::Serve(settings)) => serve(*settings).await,
        Some(Command::Migrate(settings)) => migrate(&settings.store).await,
        Some(Command::Backup { store, backup }) => back_up(&store, &backup).await,
        Some(Command::Restore { store, restore }) => bring_back(&store, &restore).await,
        Some(Command::Keys { store, command }) => keys(&store, command).await,
    }
}

async fn serve(settings: ServeSettings) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    let application = tokio::select! {
        built = Application::build(settings) => built?,
        () = stop.cancelled() => return Ok(()),
    };
    // Who started it may have closed the output, which is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "{}", application.banner()?);
    application.run_until_stopped(stop).await
}

/// A token that the first Ctrl-C or SIGTERM cancels; the second one ends the process at once.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stopped.is_cancelled() {
                eprintln!("daybook: ending at once; the next start recovers");
                std::process::exit(130);
            }
            stopped.cancel();
        }
    });
    Ok(stop)
}

async fn migrate(settings: &StoreSettings) -> anyhow::Result<()> {
    if let Some(url) = settings.migration_url() {
        event_store::migrate(&parse_url("DAYBOOK_MIGRATION_URL", url)?).await?;
    } else if settings.database_url().is_some() {
        anyhow::bail!(
            "the schema is changed as the role daybook_migrator: give its URL with --migration-url or \
             DAYBOOK_MIGRATION_URL"
        );
    } else {
        let cluster = Cluster::open_or_create(&settings.data_dir, Options::default()).await?;
        let migrated =
            event_store::migrate(&cluster.connect_options(event_store::embedded::Role::Migrator)).await;
        cluster.stop().await;
        migrated?;
    }
    println!("the schema is up to date");
    Ok(())
}

async fn back_up(settings: &StoreSettings, args: &BackupArgs) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    let store = Store::attach(settings).await?;
    let done = stop.run_until_cancelled(backup::back_up(&store.pool, args)).await;
    store.close().await;
    done.context("interrupted; nothing of the backup was left")??;
    Ok(())
}

async fn bring_back(settings: &StoreSettings, args: &RestoreArgs) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    if args.check {
        stop.run_until_cancelled(backup::check(args)).await.context("interrupted")??;
        return Ok(());
    }
    // Before a cluster is made for what is not a backup.
    backup::look_at(args).await?;
    let store = Store::open(settings, false).await?;
    let done = stop.run_until_cancelled(backup::restore(&store.pool, args)).await;
    store.close().await;
    done.context("interrupted; the log is still empty")??;
    Ok(())
}

async fn keys(settings: &StoreSettings, command: KeysCommand) -> anyhow::Result<()> {
    let store = Store::attach(settings).await?;
    let done = run_keys(&Keys::new(store.pool.clone()), command).await;
    store.close().await;
    done
}

async fn run_keys(keys: &Keys, command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create { name, role, owner } => {
            let key = keys.create(&name, role, owner.as_deref()).await?;
            eprintln!("the key of {name}, a {}; it is shown this once:", role.as_str());
            println!("{}", key.reveal());
        }
        KeysCommand::List { json } => {
            let records = keys.list().await?;
            if json {
                let records: Vec<_> = records
                    .iter()
                    .map(|record| {
                        serde_json::json!({
                            "name": record.name, "role": record.role, "owner": record.owner,
                            "createdAt": record.created_at, "revokedAt": record.revoked_at,
                        })
                    })
                    .collect();
                println!("{}", serde_json::to_string_pretty(&records).context("the list has no JSON form")?);
                return Ok(());
            }
            println!("{:<24} {:<12} {:<24} {:<20} REVOKED", "NAME", "ROLE", "OWNER", "CREATED");
            for record in records {
                let day = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M").to_string();
                println!(
                    "{:<24} {:<12} {:<24} {:<20} {}",
                    record.name,
                    record.role,
                    record.owner.unwrap_or_default(),
                    day(record.created_at),
                    record.revoked_at.map(day).unwrap_or_default()
                );
            }
        }
        KeysCommand::Revoke { name } => {
            keys.revoke(&name).await?;
            println!("revoked {name}; servers forget it within seconds");
        }
    }
    Ok(())
}
