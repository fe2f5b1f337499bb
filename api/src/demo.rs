//! What a first start begins with: keys, two paper markets, and a trader with money.
//!
//! Every step may have been taken by a start that was killed half-way, so each looks first. The markets come last: once
//! they are there, the rest is.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use commands::request::{MoneyMovement, OpenAccount, OpenPortfolio, RegisterMarket};
use commands::{Answer, Bus, Command, Failure, Outcome, Principal, Request, Role};
use domain::account::AccountKind;
use domain::ids::Symbol;
use domain::market::Venue;
use domain::{Code, Decimal};
use event_store::{Log, StreamId};
use uuid::Uuid;

use crate::auth::{ApiKey, Keys};

/// Owner of the demo trader's account and portfolio.
pub const OWNER: &str = "demo";
/// Name of the file with the keys, in the data folder.
pub const KEYS_FILE: &str = "api-keys.json";
/// Name of the principal that sets the demo up.
const ACTOR: &str = "daybook";
const BALANCE: &str = "100000";
/// Symbol, lot size. The filters are those of Binance Spot at the time of the recording.
const MARKETS: [(&str, &str); 2] = [("BTC-USDT", "0.00001"), ("ETH-USDT", "0.0001")];
/// How long the bus may take to lead and answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes one key for each role and writes them to the data folder, once.
///
/// # Errors
/// When the file cannot be written or read, or the database does not answer.
pub async fn install_keys(folder: &Path, keys: &Keys) -> anyhow::Result<()> {
    let file = folder.join(KEYS_FILE);
    let wanted: BTreeMap<String, String> = if file.exists() {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not an object of role and key; restore it or make keys with daybook keys create",
                file.display()
            )
        })?
    } else if !keys.list().await?.is_empty() {
        tracing::warn!(file = %file.display(), "the file with the keys is gone; make new ones with daybook keys create");
        return Ok(());
    } else {
        let mut fresh = BTreeMap::new();
        for role in Role::OF_KEYS {
            fresh.insert(role.as_str().to_owned(), ApiKey::generate()?.reveal().to_owned());
        }
        write_private(&file, &serde_json::to_string_pretty(&fresh)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        fresh
    };
    // The file comes first: keys in the database that nobody knows would be of no use.
    for (role, key) in wanted {
        let Ok(role) = role.parse::<Role>() else { continue };
        let Some(key) = ApiKey::from_authorization(&format!("Bearer {key}")) else { continue };
        let owner = (role == Role::Trader).then_some(OWNER);
        let name = if role == Role::Trader { "demo-trader" } else { role.as_str() };
        keys.install(name, role, owner, &key).await?;
    }
    Ok(())
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = file.with_extension("json.new");
    let _ = std::fs::remove_file(&unfinished);
    let mut writer =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writer.write_all(text.as_bytes())?;
    writer.write_all(b"\n")?;
    writer.sync_all()?;
    std::fs::rename(&unfinished, file)
}

/// Opens the demo trader's account and portfolio and registers the markets, unless that was done before.
///
/// # Errors
/// When no node decides in time, or it refuses a step.
pub async fn set_up(bus: &Bus, log: &Log) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (symbol, lot) in MARKETS {
        if log.stream(&StreamId::new("market", symbol), 0, 1).await?.is_empty() {
            missing.push((symbol, lot));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    anyhow::ensure!(
        bus.served_within(PATIENCE).await,
        "no server that leads can be reached, so the demo cannot be set up; is another one using this database?",
    );

    let account = execute(
        bus,
        "account",
        Command::OpenAccount(OpenAccount {
            owner: OWNER.to_owned(),
            currency: "USDT".parse()?,
            kind: AccountKind::Brokerage,
            overdraft_limit: Decimal::ZERO,
        }),
    )
    .await?;
    let account_id = account.account_id.context("opening an account answered without its id")?;
    let deposit = MoneyMovement {
        account_id: account_id.clone(),
        amount: BALANCE.parse()?,
        reference: Some("play money".to_owned()),
        effective_at: None,
    };
    execute(bus, "deposit", Command::Deposit(deposit)).await?;
    let portfolio =
        OpenPortfolio { owner: OWNER.to_owned(), name: "Demo".to_owned(), cash_account_id: account_id };
    execute(bus, "portfolio", Command::OpenPortfolio(portfolio)).await?;
    for (symbol, lot) in missing {
        execute(bus, symbol, Command::RegisterMarket(market(symbol, lot)?)).await?;
    }
    tracing::info!("set up the demo: two paper markets and a trader with 100,000 USDT");
    Ok(())
}

fn market(symbol: &str, lot: &str) -> anyhow::Result<RegisterMarket> {
    let (base, quote) = symbol.split_once('-').context("a symbol is BASE-QUOTE")?;
    Ok(RegisterMarket {
        symbol: Symbol::new(symbol),
        base: base.parse()?,
        quote: quote.parse()?,
        venue: Venue::Paper,
        tick_size: "0.01".parse()?,
        lot_size: lot.parse()?,
        min_quantity: lot.parse()?,
        max_quantity: "9000".parse()?,
        min_notional: "5".parse()?,
        maker_fee_bps: "10".parse()?,
        taker_fee_bps: "10".parse()?,
        price_band: None,
    })
}

async fn execute(bus: &Bus, step: &str, command: Command) -> anyhow::Result<Answer> {
    let request = Request {
        principal: Principal { name: ACTOR.into(), role: Role::Admin, owner: None },
        idempotency_key: format!("demo:{step}"),
        correlation_id: Uuid::now_v7(),
        command,
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match bus.execute(request.clone()).await {
            Ok(receipt) => match receipt.outcome {
                Outcome::Accepted(answer) => return Ok(answer),
                Outcome::Refused(refusal) if refusal.code == Code::AlreadyExists => {
                    return Ok(Answer::default());
                }
                Outcome::Refused(refusal) => bail!("the demo's step {step} was refused: {refusal}"),
            },
            Err(Failure::Unavailable | Failure::Overloaded) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(failure) => bail!("the demo's step {step} failed: {failure}"),
        }
    }
}
