//! The tool as it is run: answers, exit statuses, with the embedded server up and down.

#[path = "../../projections/tests/common/mod.rs"]
mod common;

use std::process::{Command, Output};
use std::time::Duration;

use common::Writer;
use common::house::House;
use event_store::embedded::testing::shared_cluster;
use event_store::embedded::{Cluster, Options, Role};
use event_store::{Appender, Batch, Leadership, Log, LogPosition};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

fn tool() -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_replay-tool"));
    tool.env_remove("DATABASE_URL").env_remove("DAYBOOK_DATA_DIR");
    tool
}

/// Off the runtime's threads, so that nothing the test keeps running stands still.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn at(writer: &Writer, arguments: &[&str]) -> Output {
    let uri = shared_cluster().await.unwrap().connection_uri(Role::App);
    let (server, _) = uri.rsplit_once('/').unwrap();
    let mut tool = tool();
    tool.arg("--database-url").arg(format!("{server}/{}", writer.database.name())).args(arguments);
    output(tool).await
}

async fn lived() -> (Writer, LogPosition) {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(211);
    let projecting = writer.project().await;
    writer.append(house.now, opening).await;
    let head = writer.append(house.now, house.live(60)).await;
    projecting.reach(head).await;
    projecting.stop().await;
    (writer, head)
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_how_far_every_projection_is() {
    let (writer, head) = lived().await;
    let told = at(&writer, &["status", "--json"]).await;
    assert!(told.status.success(), "{}", errors(&told));
    let status = &lines(&told)[0];
    assert_eq!(status["head"], head.to_string());
    let projections = status["projections"].as_array().unwrap();
    assert_eq!(projections.len(), projections::names().len());
    for projection in projections {
        assert_eq!(projection["state"], "LIVE");
        assert_eq!(projection["logPosition"], head.to_string());
        assert_eq!(projection["lag"], "0");
    }
    let for_people = at(&writer, &["status"]).await;
    let text = String::from_utf8(for_people.stdout).unwrap();
    assert!(text.contains("accounts") && text.contains("LIVE"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_exits_with_1_and_names_the_row_that_was_changed_and_rebuild_mends_it() {
    let (writer, head) = lived().await;
    let verified = at(&writer, &["verify"]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", errors(&verified));

    let tampered: String = sqlx::query_scalar(
        "UPDATE read.positions SET quantity = quantity + 1 WHERE portfolio_id = \
         (SELECT min(portfolio_id) FROM read.positions) AND asset = 'BTC' RETURNING portfolio_id",
    )
    .fetch_one(&writer.database.app)
    .await
    .unwrap();
    let verified = at(&writer, &["verify", "positions", "--json"]).await;
    assert_eq!(verified.status.code(), Some(1), "{}", errors(&verified));
    let found = &lines(&verified)[0];
    assert_eq!(found["projection"], "positions");
    assert_eq!(found["differing"], 1);
    assert_eq!(found["differences"][0]["key"]["portfolio_id"], tampered.as_str());
    assert_eq!(found["differences"][0]["columns"], serde_json::json!(["quantity"]));
    let for_people = at(&writer, &["verify", "positions"]).await;
    assert_eq!(for_people.status.code(), Some(1));
    let text = String::from_utf8(for_people.stdout).unwrap();
    assert!(text.contains("1 differ") && text.contains("BTC") && text.contains("quantity"), "{text}");

    let rebuilt = at(&writer, &["rebuild", "positions", "--json"]).await;
    assert!(rebuilt.status.success(), "{}", errors(&rebuilt));
    assert_eq!(lines(&rebuilt)[0]["logPosition"], head.to_string());
    let verified = at(&writer, &["verify"]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", errors(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_stream_type_actor_and_position() {
    let (writer, head) = lived().await;
    let all = writer.log.read(LogPosition::ZERO, 50_000).await.unwrap();
    let positions = |output: &Output| -> Vec<String> {
        assert!(output.status.success(), "{}", errors(output));
        lines(output).iter().map(|event| event["logPosition"].as_str().unwrap().to_owned()).collect()
    };
    let expected = |passes: &dyn Fn(&event_store::RecordedEvent) -> bool| -> Vec<String> {
        all.iter().filter(|event| passes(event)).map(|event| event.log_position.to_string()).collect()
    };
    let everything = at(&writer, &["events", "--json", "--limit", "100000"]).await;
    assert_eq!(positions(&everything), expected(&|_| true));
    let payloads: Vec<String> = lines(&everything).iter().map(|event| event["payload"].to_string()).collect();
    assert_eq!(payloads.len() as u64, head.0);
    let deposits = at(&writer, &["events", "--json", "--limit", "1000", "--type", "FundsDeposited"]).await;
    assert_eq!(positions(&deposits), expected(&|event| event.event_type == "FundsDeposited"));
    let of_markets = at(
        &writer,
        &["events", "--json", "--limit", "1000", "--aggregate-type", "market", "--actor", "tester"],
    )
    .await;
    assert_eq!(positions(&of_markets), expected(&|event| event.aggregate_type == "market"));
    let newest = at(&writer, &["events", "--json", "--newest", "--limit", "3"]).await;
    assert_eq!(positions(&newest), expected(&|event| event.log_position.0 > head.0 - 3));
    let between = at(&writer, &["events", "--json", "--after", "4", "--before", "9"]).await;
    assert_eq!(positions(&between), ["5", "6", "7", "8"]);
    let for_people = at(&writer, &["events", "--limit", "2"]).await;
    assert!(String::from_utf8(for_people.stdout).unwrap().contains("InstrumentRegistered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_exits_with_2_and_says_what_to_do() {
    let (writer, _) = lived().await;
    let unknown = at(&writer, &["rebuild", "balances"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(errors(&unknown).contains("accounts"), "{}", errors(&unknown));
    let folder = tempfile::tempdir().unwrap();
    let mut nowhere = tool();
    nowhere.arg("--data-dir").arg(folder.path().join("none")).arg("status");
    let nowhere = output(nowhere).await;
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(errors(&nowhere).contains("daybook"), "{}", errors(&nowhere));
    let mut nonsense = tool();
    nonsense.arg("repair");
    assert_eq!(output(nonsense).await.status.code(), Some(2));
    let mut secret = tool();
    secret.args(["--database-url", "postgres://u:hunter2@[", "status"]);
    let secret = output(secret).await;
    assert_eq!(secret.status.code(), Some(2));
    assert!(!errors(&secret).contains("hunter2"), "{}", errors(&secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_beside_the_running_embedded_server_and_when_that_is_down() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    let cluster = Cluster::open_or_create(&data, Options::default()).await.unwrap();
    event_store::migrate(&cluster.connect_options(Role::Migrator)).await.unwrap();
    let pool = PgPoolOptions::new().connect_with(cluster.connect_options(Role::App)).await.unwrap();
    let log = Log::open(pool.clone()).await.unwrap();
    let lease =
        Leadership::new(pool.clone()).acquire("server", Duration::from_secs(60)).await.unwrap().unwrap();
    let mut appender = Appender::connect(&log, &lease).await.unwrap();
    let (mut house, mut commands) = House::opened(223);
    commands.extend(house.live(40));
    let batch = Batch { after: LogPosition::ZERO, recorded_at: house.now, commands };
    let head = appender.append(&batch).await.unwrap();
    let shutdown = CancellationToken::new();
    let running =
        projections::start(pool.clone(), log.clone(), projections::Settings::default(), shutdown.clone())
            .await
            .unwrap();
    let models = running.read_models();
    models.wait(&projections::names(), head, Duration::from_secs(30)).await.unwrap();

    let in_folder = |arguments: &[&str]| {
        let mut tool = tool();
        tool.arg("--data-dir").arg(&data).args(arguments);
        tool
    };
    let rebuilt = output(in_folder(&["rebuild", "accounts", "orders"])).await;
    assert!(rebuilt.status.success(), "{}", errors(&rebuilt));
    let more = house.live(20);
    let batch = Batch { after: head, recorded_at: house.now, commands: more };
    let head = appender.append(&batch).await.unwrap();
    models.wait(&projections::names(), head, Duration::from_secs(30)).await.unwrap();
    let verified = output(in_folder(&["verify"])).await;
    assert_eq!(verified.status.code(), Some(0), "{}", errors(&verified));

    shutdown.cancel();
    running.stopped().await;
    drop((appender, log, models));
    pool.close().await;
    cluster.stop().await;
    for arguments in [&["verify"][..], &["rebuild", "entries"], &["verify", "entries", "--json"], &["status"]]
    {
        let done = output(in_folder(arguments)).await;
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {}", errors(&done));
    }
}
