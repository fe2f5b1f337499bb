//! The embedded cluster through its life: first start, restart, moves, refusals, and every kind of crash.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use event_store::embedded::{Cluster, EmbeddedError, Options, Role, ServerState};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::sync::watch;

/// A folder that every user may pass through, gone with the value.
fn folder() -> tempfile::TempDir {
    let open = fs::Permissions::from_mode(0o711);
    tempfile::Builder::new().prefix("daybook-").permissions(open).tempdir().unwrap()
}

async fn open(folder: &Path) -> Cluster {
    Cluster::open_or_create(folder, Options::default()).await.unwrap()
}

async fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::connect_with(&cluster.connect_options(Role::Superuser)).await.unwrap()
}

/// Writes a row that only a durable, recovered database still has.
async fn write_a_fact(cluster: &Cluster) {
    let mut connection = connect(cluster).await;
    sqlx::raw_sql("CREATE TABLE fact (n int); INSERT INTO fact VALUES (42)")
        .execute(&mut connection)
        .await
        .unwrap();
}

async fn the_fact(cluster: &Cluster) -> i32 {
    sqlx::query_scalar("SELECT n FROM fact").fetch_one(&mut connect(cluster).await).await.unwrap()
}

/// The PostgreSQL processes that work in a cluster's home, by what the system says.
fn processes_in(home: &Path) -> Vec<i32> {
    let data = home.join("data");
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data))
        .collect()
}

fn postmaster_of(home: &Path) -> i32 {
    let text = fs::read_to_string(home.join("data/postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

fn kill_9(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Looks until it is so; a condition of the operating system has nothing to wait on.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Another process that opens a folder and then waits to be killed.
struct Holder {
    process: Child,
}

impl Holder {
    /// The first line is `ready <home>` or `error <text>`.
    fn start(folder: &Path, environment: &[(&str, &str)]) -> (Self, String) {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_dropped_cluster_ends_its_server", "--nocapture"])
            .env("HOLD_FOLDER", folder)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let said = lines
            .map(Result::unwrap)
            .find_map(|line| line.split_once("HOLDER ").map(|(_, said)| said.to_owned()))
            .expect("the holder says how it went");
        (Self { process }, said)
    }

    fn ready(folder: &Path) -> (Self, PathBuf) {
        let (holder, said) = Self::start(folder, &[]);
        let home = said.strip_prefix("ready ").unwrap_or_else(|| panic!("{said}")).into();
        (holder, home)
    }

    fn kill_9(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Also what a [`Holder`] runs, in the folder that its starter names.
#[tokio::test]
async fn a_dropped_cluster_ends_its_server() {
    let held = std::env::var_os("HOLD_FOLDER").map(PathBuf::from);
    // A killed holder could not remove a folder of its own.
    let own = held.is_none().then(folder);
    let path = held.as_deref().or(own.as_ref().map(|folder| folder.path())).unwrap();
    match Cluster::open_or_create(path, Options::default()).await {
        Ok(cluster) => {
            let home = cluster.home().to_path_buf();
            println!("\nHOLDER ready {}", home.display());
            if held.is_some() {
                // Until the starter kills us or is gone itself.
                let _ = std::io::stdin().read_line(&mut String::new());
            }
            drop(cluster);
            assert_eq!(processes_in(&home), Vec::<i32>::new());
        }
        Err(error) => {
            println!("\nHOLDER error {} {error}", error.code());
            assert!(held.is_some(), "{error}");
        }
    }
}

#[tokio::test]
async fn a_second_start_goes_on_where_the_first_ended() {
    let folder = folder();
    let data_folder = folder.path().join("new/data");
    let begun = Instant::now();
    let cluster = open(&data_folder).await;
    let first = begun.elapsed();
    let home = cluster.home().to_path_buf();
    assert_eq!(home, data_folder.canonicalize().unwrap().join("postgres"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(cluster.sockets()), 0o700, "no other user may connect");
    assert_ne!(fs::metadata(home.join("data")).unwrap().uid(), 0, "never as root");
    write_a_fact(&cluster).await;
    let begun = Instant::now();
    cluster.stop().await;
    let stopped = begun.elapsed();
    assert_eq!(processes_in(&home), Vec::<i32>::new());

    let begun = Instant::now();
    let cluster = open(&data_folder).await;
    let again = begun.elapsed();
    println!("first start {first:?}, stop {stopped:?}, second start {again:?}");
    assert_eq!(the_fact(&cluster).await, 42);
    assert!(stopped.max(again) < Duration::from_secs(15));
    cluster.stop().await;
}

#[tokio::test]
async fn a_data_folder_can_be_moved_while_it_is_stopped() {
    let folder = folder();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let cluster = open(&here).await;
    write_a_fact(&cluster).await;
    cluster.stop().await;
    fs::rename(&here, &there).unwrap();
    let cluster = open(&there).await;
    assert_eq!(the_fact(&cluster).await, 42);
    cluster.stop().await;
}

#[tokio::test]
async fn a_very_deep_data_folder_has_its_socket_elsewhere() {
    let folder = folder();
    let deep = folder.path().join("a_rather_long_name_of_a_folder_in_a_deep_tree/".repeat(12));
    let cluster = open(&deep).await;
    write_a_fact(&cluster).await;
    let sockets = cluster.sockets().to_path_buf();
    assert!(cluster.home().starts_with(folder.path().canonicalize().unwrap()));
    assert!(!sockets.starts_with(folder.path()) && sockets.as_os_str().len() < 90, "{sockets:?}");
    cluster.stop().await;
    assert!(!sockets.exists(), "{} is left", sockets.display());
    let cluster = open(&deep).await;
    assert_eq!(the_fact(&cluster).await, 42);
    cluster.stop().await;
}

#[tokio::test]
async fn a_folder_closed_to_others_still_gets_its_database() {
    let closed = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let folder = closed.path().join("clone/.daybook");
    let cluster = open(&folder).await;
    let home = cluster.home().to_path_buf();
    write_a_fact(&cluster).await;
    cluster.stop().await;
    if rustix::process::geteuid().is_root() {
        assert!(home.starts_with("/var/lib/daybook"), "{}", home.display());
        let record = fs::read_to_string(folder.join("embedded.json")).unwrap();
        assert!(record.contains(home.to_str().unwrap()), "{record}");
    }
    let attached = Cluster::attach(&folder).await.unwrap();
    assert_eq!(attached.home(), home);
    assert_eq!(the_fact(&attached).await, 42);
    attached.stop().await;
    fs::remove_dir_all(&home).unwrap();
    // Only if no other database of this machine is there.
    let _ = fs::remove_dir("/var/lib/daybook");
}

#[tokio::test]
async fn a_database_that_became_unreachable_is_kept() {
    let folder = folder();
    let data_folder = folder.path().join("data");
    let cluster = open(&data_folder).await;
    write_a_fact(&cluster).await;
    cluster.stop().await;
    fs::remove_file(data_folder.join("embedded.json")).unwrap();
    let mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o700);
    let closed = Cluster::open_or_create(&data_folder, Options::default()).await;
    if rustix::process::geteuid().is_root() {
        let error = closed.unwrap_err();
        assert!(matches!(error, EmbeddedError::NotReachable { .. }), "{error}");
    } else {
        closed.unwrap().stop().await;
    }
    mode(0o711);
    let cluster = open(&data_folder).await;
    assert_eq!(the_fact(&cluster).await, 42);
    cluster.stop().await;
}

#[tokio::test]
async fn a_second_owner_is_refused_and_told_who_has_it() {
    let folder = folder();
    let cluster = open(folder.path()).await;
    let error = Cluster::open_or_create(folder.path(), Options::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, EmbeddedError::InUse { .. }), "{text}");
    assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
    let (_holder, said) = Holder::start(folder.path(), &[]);
    assert!(said.starts_with("error DATA_FOLDER_IN_USE"), "{said}");
    cluster.stop().await;
}

#[tokio::test]
async fn attaching_finds_a_running_server_and_leaves_it_running() {
    let folder = folder();
    let cluster = open(folder.path()).await;
    write_a_fact(&cluster).await;
    let attached = Cluster::attach(folder.path()).await.unwrap();
    assert!(!attached.is_ours());
    assert_eq!(the_fact(&attached).await, 42);
    attached.stop().await;
    assert_eq!(the_fact(&cluster).await, 42);
    cluster.stop().await;
}

#[tokio::test]
async fn attaching_starts_a_server_that_is_down_and_stops_it_again() {
    let folder = folder();
    let cluster = open(folder.path()).await;
    write_a_fact(&cluster).await;
    cluster.stop().await;
    let attached = Cluster::attach(folder.path()).await.unwrap();
    assert!(attached.is_ours());
    assert_eq!(the_fact(&attached).await, 42);
    let home = attached.home().to_path_buf();
    attached.stop().await;
    assert_eq!(processes_in(&home), Vec::<i32>::new());
}

#[tokio::test]
async fn attaching_makes_nothing() {
    let folder = folder();
    for path in [folder.path().to_path_buf(), folder.path().join("absent")] {
        let error = Cluster::attach(&path).await.unwrap_err();
        assert!(matches!(error, EmbeddedError::NoCluster { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_cluster_of_another_major_version_is_refused_with_advice() {
    let folder = folder();
    let cluster = open(folder.path()).await;
    let version = cluster.home().join("data/PG_VERSION");
    cluster.stop().await;
    let right = fs::read_to_string(&version).unwrap();
    fs::write(&version, "99\n").unwrap();
    let error = Cluster::open_or_create(folder.path(), Options::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, EmbeddedError::VersionMismatch { .. }), "{text}");
    assert!(text.contains("made by PostgreSQL 99") && text.contains("postgresql-99"), "{text}");
    fs::write(&version, right).unwrap();
    open(folder.path()).await.stop().await;
}

#[test]
fn a_wrong_folder_of_programs_is_told() {
    let folder = folder();
    let empty = folder.path().to_str().unwrap();
    let (_holder, said) = Holder::start(&folder.path().join("data"), &[("DAYBOOK_POSTGRES_BIN", empty)]);
    assert!(said.starts_with("error POSTGRES_BINARIES_WRONG"), "{said}");
    assert!(said.contains("has no initdb"), "{said}");
}

#[tokio::test]
async fn a_start_that_fails_tells_the_servers_own_words() {
    let folder = folder();
    let wrong = Options::default().with_setting("shared_buffers", "plenty");
    let error = Cluster::open_or_create(folder.path(), wrong).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, EmbeddedError::Start { .. }), "{text}");
    assert!(text.contains("shared_buffers") && text.contains("postgresql.log"), "{text}");
    open(folder.path()).await.stop().await;
}

/// A pool as a server has it, and a backend that is busy for long.
async fn pool_with_a_busy_backend(cluster: &Cluster) -> PgPool {
    let pool = PgPoolOptions::new().connect_with(cluster.connect_options(Role::Superuser)).await.unwrap();
    let busy = pool.clone();
    tokio::spawn(async move { sqlx::query("SELECT pg_sleep(600)").execute(&busy).await });
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>(sleeping).fetch_one(&pool).await.unwrap() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    pool
}

/// The next time it runs; that it recovered between may have passed unseen.
async fn back(state: &mut watch::Receiver<ServerState>) {
    loop {
        state.changed().await.unwrap();
        if *state.borrow_and_update() == ServerState::Running {
            return;
        }
    }
}

#[tokio::test]
async fn a_killed_server_comes_back_under_the_same_pool() {
    let folder = folder();
    let cluster = open(folder.path()).await;
    write_a_fact(&cluster).await;
    let pool = pool_with_a_busy_backend(&cluster).await;
    let mut state = cluster.state();
    assert_eq!(*state.borrow_and_update(), ServerState::Running);
    let killed = postmaster_of(cluster.home());
    let begun = Instant::now();
    kill_9(killed);
    back(&mut state).await;
    println!("back after {:?}", begun.elapsed());
    assert_ne!(postmaster_of(cluster.home()), killed);
    let fact: i32 = sqlx::query_scalar("SELECT n FROM fact").fetch_one(&pool).await.unwrap();
    assert_eq!(fact, 42);
    cluster.stop().await;
}

#[tokio::test]
async fn a_lost_socket_folder_comes_back() {
    let folder = folder();
    let cluster = open(folder.path()).await;
    write_a_fact(&cluster).await;
    let mut state = cluster.state();
    state.borrow_and_update();
    fs::remove_dir_all(cluster.sockets()).unwrap();
    back(&mut state).await;
    assert_eq!(the_fact(&cluster).await, 42);
    cluster.stop().await;
}

#[tokio::test]
async fn a_killed_parent_takes_its_server_along_in_order() {
    let folder = folder();
    let (holder, home) = Holder::ready(folder.path());
    {
        let attached = Cluster::attach(folder.path()).await.unwrap();
        write_a_fact(&attached).await;
    }
    holder.kill_9();
    until("the server's end", || processes_in(&home).is_empty());
    let log = fs::read_to_string(home.join("log/postgresql.log")).unwrap();
    assert!(log.trim_end().ends_with("database system is shut down"), "{log}");
    let cluster = open(folder.path()).await;
    assert_eq!(the_fact(&cluster).await, 42);
    let log = fs::read_to_string(home.join("log/postgresql.log")).unwrap();
    assert!(!log.contains("not properly shut down"), "{log}");
    cluster.stop().await;
}

#[tokio::test]
async fn parent_and_server_killed_together_recover_at_the_next_start() {
    let folder = folder();
    let (holder, home) = Holder::ready(folder.path());
    let attached = Cluster::attach(folder.path()).await.unwrap();
    write_a_fact(&attached).await;
    let _pool = pool_with_a_busy_backend(&attached).await;
    let postmaster = postmaster_of(&home);
    // Stopped first, so that it can neither bring the server back nor say good-bye.
    let parent = rustix::process::Pid::from_child(&holder.process);
    rustix::process::kill_process(parent, rustix::process::Signal::STOP).unwrap();
    kill_9(postmaster);
    holder.kill_9();
    let begun = Instant::now();
    let cluster = open(folder.path()).await;
    println!("recovered after {:?}", begun.elapsed());
    assert_eq!(the_fact(&cluster).await, 42);
    cluster.stop().await;
}

#[tokio::test]
async fn a_stale_process_number_of_somebody_else_does_not_block_the_start() {
    let folder = folder();
    let cluster = open(folder.path()).await;
    write_a_fact(&cluster).await;
    let data = cluster.home().join("data");
    let owner = fs::metadata(&data).unwrap();
    let stale = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    cluster.stop().await;
    // Of the server's user, so that PostgreSQL itself cannot tell it from a server.
    let mut stranger = Command::new("sleep");
    if rustix::process::geteuid().is_root() {
        std::os::unix::process::CommandExt::uid(&mut stranger, owner.uid());
    }
    let mut stranger = stranger.arg("600").spawn().unwrap();
    let (_, rest) = stale.split_once('\n').unwrap();
    let lock = data.join("postmaster.pid");
    fs::write(&lock, format!("{}\n{rest}", stranger.id())).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&lock, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let opened = Cluster::open_or_create(folder.path(), Options::default()).await;
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let cluster = opened.unwrap();
    assert_eq!(the_fact(&cluster).await, 42);
    cluster.stop().await;
}
