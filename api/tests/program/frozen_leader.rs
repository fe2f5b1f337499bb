//! The leader is frozen at its worst moment: while PostgreSQL works on its commit and keeps the head locked for it.

use std::time::{Duration, Instant};

use event_store::Log;
use event_store::embedded::Role;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio::task::JoinHandle;

use crate::nodes::{House, Load, TAKE_OVER};
use crate::support::{Client, code_of, soon, text};

const DEPOSIT: &str =
    "mutation($input: MoneyInput!) { deposit(input: $input) { errors { code } logPosition replayed } }";
const WITHDRAW: &str =
    "mutation($input: MoneyInput!) { withdraw(input: $input) { errors { code } logPosition replayed } }";
const TRANSFERS: &str = "mutation($inputs: [TransferInput!]!) { transfers(inputs: $inputs) { errors { code } logPosition replayed } }";
/// The key of the request whose commit is caught.
const CAUGHT: &str = "caught";
/// Transfers in one request: more events than go as one statement.
const MANY: usize = 100;

/// What becomes of the commit that is under way when the leader is frozen.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Commit {
    /// It waits until PostgreSQL gives it up.
    Fails,
    /// It goes through when the lease has run out, and nobody hears of it.
    GoesThrough,
    /// It goes through just before, and another one that waits for it in PostgreSQL does, too.
    GoesThroughWithAnother,
    /// It waits for the frozen leader itself, to whom it has more to say than the connection takes; for ever.
    Hangs,
}

/// Where the commit of one key stops, its head already locked and moved.
struct Gate {
    superuser: PgConnection,
}

impl Gate {
    async fn close(house: &House, commit: Commit) -> Self {
        let options = house.cluster.connect_options(Role::Superuser);
        let mut superuser = options.connect().await.unwrap();
        let then = match commit {
            Commit::Hangs => "FOR n IN 1..1000 LOOP RAISE INFO '%', repeat('x', 100000); END LOOP;",
            _ => "",
        };
        let sql = format!(
            "CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN PERFORM pg_advisory_xact_lock_shared(1); {then} RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON log.idempotency_keys DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW WHEN (NEW.key = '{CAUGHT}') EXECUTE FUNCTION public.gate(); \
             SELECT pg_advisory_lock(1)"
        );
        superuser.execute(sql.as_str()).await.unwrap();
        Self { superuser }
    }

    /// Whether the lease has run out, while an appender that waits for this has the head locked. `None` when none has.
    async fn is_overdue(&mut self, waiting_for: &str) -> Option<bool> {
        sqlx::query_scalar(
            "SELECT h.lease_until <= clock_timestamp() FROM log.log_head AS h \
             JOIN pg_locks AS l ON l.locktype = 'transactionid' AND l.transactionid = h.xmax AND l.granted \
             JOIN pg_stat_activity AS a ON a.pid = l.pid \
             WHERE a.application_name = 'daybook appender' AND a.wait_event = $1",
        )
        .bind(waiting_for)
        .fetch_optional(&mut self.superuser)
        .await
        .unwrap()
    }

    /// Waits until an appender has the head locked and waits for this.
    async fn locked(&mut self, waiting_for: &str) {
        soon("the head is locked", async {
            while self.is_overdue(waiting_for).await.is_none() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Waits until another commit has got in line behind that one.
    async fn has_another_behind(&mut self) {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'daybook appender' \
             AND wait_event = 'advisory' AND query LIKE 'SELECT pg_advisory_xact_lock_shared%'";
        soon("a commit waits behind the one that is caught", async {
            while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut self.superuser).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Waits until the lease is about to run out.
    async fn nearly_outlasts_the_lease(&mut self) {
        let left =
            "SELECT (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint FROM log.log_head";
        while sqlx::query_scalar::<_, i64>(left).fetch_one(&mut self.superuser).await.unwrap() > 100 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the lease has run out, and sees that the head is still locked then.
    async fn outlasts_the_lease(&mut self, waiting_for: &str) {
        loop {
            let has_run_out = self.is_overdue(waiting_for).await.expect("the head is locked until then");
            if has_run_out {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn open(&mut self) {
        self.superuser.execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    }

    async fn remove(mut self) {
        self.superuser.execute("DROP FUNCTION public.gate() CASCADE").await.unwrap();
        self.open().await;
        self.superuser.close().await.unwrap();
    }
}

/// So many transfers that together are 7.00; the first has this key.
fn many(key: &str, from: &str, to: &str) -> Value {
    let inputs = (0..MANY).map(|n| {
        let key = if n == 0 { key.to_owned() } else { format!("{key}-{n}") };
        json!({"idempotencyKey": key, "from": from, "to": to, "amount": "0.07"})
    });
    inputs.collect()
}

/// A request that pays 7.00, in one deposit or in many transfers.
#[derive(Clone)]
enum Payment {
    Deposit(Value),
    Transfers(Value),
}

impl Payment {
    fn ask(&self, client: &Client) -> JoinHandle<Effect> {
        let (client, payment) = (client.clone(), self.clone());
        tokio::spawn(async move {
            let answers = match payment {
                Self::Deposit(input) => {
                    let mut answer = client.gql("admin", DEPOSIT, json!({"input": input})).await;
                    vec![answer["data"]["deposit"].take()]
                }
                Self::Transfers(inputs) => {
                    let mut answer = client.gql("admin", TRANSFERS, json!({"inputs": inputs})).await;
                    serde_json::from_value(answer["data"]["transfers"].take()).unwrap()
                }
            };
            let is_done = |answer: &Value| answer["errors"] == json!([]) && answer["logPosition"].is_string();
            assert!(answers.iter().all(is_done), "{answers:?}");
            let replayed = answers[0]["replayed"] == true;
            assert!(answers.iter().all(|answer| answer["replayed"] == replayed), "{answers:?}");
            Effect { places: answers.iter().map(|answer| text(&answer["logPosition"])).collect(), replayed }
        })
    }
}

/// What a payment was told.
struct Effect {
    places: Vec<String>,
    replayed: bool,
}

fn asked(client: &Client, query: &'static str, input: Value) -> JoinHandle<Value> {
    let client = client.clone();
    tokio::spawn(async move { client.gql("admin", query, json!({"input": input})).await })
}

/// The place that an accepted request was told.
fn place(answer: &Value, field: &str) -> u64 {
    assert_eq!(code_of(answer), "", "{answer}");
    text(&answer["data"][field]["logPosition"]).parse().unwrap()
}

async fn frozen_while_its_commit(commit: Commit) {
    let house = House::new().await;
    let (first, second) = (house.start("first").await, house.start("second").await);
    let (on_first, on_second) = (house.client(&first), house.client(&second));
    let from = on_second.funded("alice", "EUR", "10000.00").await;
    let to = on_second.open_account("bob", "EUR").await;
    let savings = on_second.open_account("carol", "EUR").await;
    let more_savings = on_second.open_account("carol", "EUR").await;
    let full = on_first.funded("dora", "EUR", "5.00").await;
    let empty = on_first.open_account("emil", "EUR").await;
    assert!(house.log("first").contains("this node leads"), "{}", house.log("first"));
    let epoch = house.epoch().await;

    let mut gate = Gate::close(&house, commit).await;
    let (caught, behind) = match commit {
        Commit::GoesThroughWithAnother => (
            Payment::Transfers(many(CAUGHT, &from, &savings)),
            Some(Payment::Transfers(many("behind", &from, &more_savings))),
        ),
        _ => {
            let input = json!({"idempotencyKey": CAUGHT, "accountId": savings, "amount": "7.00"});
            (Payment::Deposit(input), None)
        }
    };
    let at_first = caught.ask(&on_first);
    gate.locked("advisory").await;
    let behind_at_first = behind.as_ref().map(|behind| behind.ask(&on_first));
    if behind.is_some() {
        gate.has_another_behind().await;
    }
    let load = Load::start(&on_second, "frozen", &from, &to);
    tokio::time::sleep(Duration::from_millis(50)).await;

    let then = Instant::now();
    first.signal(Signal::STOP);
    let new = json!({"idempotencyKey": "new", "accountId": savings, "amount": "1.00"});
    let new = asked(&on_second, DEPOSIT, new);
    match commit {
        Commit::Fails => gate.outlasts_the_lease("advisory").await,
        Commit::GoesThrough => {
            gate.outlasts_the_lease("advisory").await;
            gate.open().await;
        }
        Commit::GoesThroughWithAnother => {
            gate.nearly_outlasts_the_lease().await;
            gate.open().await;
        }
        Commit::Hangs => {
            gate.open().await;
            gate.locked("ClientWrite").await;
            gate.outlasts_the_lease("ClientWrite").await;
        }
    }
    println!("{commit:?}: the head was locked {} ms after SIGSTOP", then.elapsed().as_millis());
    let new = new.await.unwrap();
    println!("{commit:?}: a new deposit was acknowledged {} ms after SIGSTOP", then.elapsed().as_millis());
    assert!(then.elapsed() < TAKE_OVER, "{:?}", then.elapsed());
    assert_eq!(new["data"]["deposit"]["replayed"], false, "{new}");
    place(&new, "deposit");
    load.goes_on(50).await;
    load.told(&format!("SIGSTOP, {commit:?}"), then);
    assert_eq!(house.epoch().await, epoch + 1);
    gate.remove().await;

    // On what the frozen leader knows, these would be answered otherwise. They wait at its door when it wakes.
    let gift = json!({"idempotencyKey": "gift", "accountId": empty, "amount": "5.00"});
    let given = place(&asked(&on_second, DEPOSIT, gift.clone()).await.unwrap(), "deposit");
    let emptied = json!({"idempotencyKey": "emptied", "accountId": full, "amount": "5.00"});
    place(&asked(&on_second, WITHDRAW, emptied).await.unwrap(), "withdraw");
    let rent = json!({"idempotencyKey": "rent", "accountId": empty, "amount": "5.00"});
    let rent = asked(&on_first, WITHDRAW, rent);
    let greed = json!({"idempotencyKey": "greed", "accountId": full, "amount": "5.00"});
    let greed = asked(&on_first, WITHDRAW, greed);
    let twin = asked(&on_first, DEPOSIT, gift);
    // Of the commit that nobody has heard of, the next leader is asked before the one that wakes asks it, or after.
    let at_second = match commit {
        Commit::Hangs => None,
        _ => Some(caught.ask(&on_second).await.unwrap()),
    };
    tokio::time::sleep(Duration::from_millis(100)).await;

    first.signal(Signal::CONT);
    let query = "query($id: ID!, $at: LogPosition) { account(id: $id, atLeast: $at) { available } }";
    let (rent, greed, twin) = (rent.await.unwrap(), greed.await.unwrap(), twin.await.unwrap());
    let paid = place(&rent, "withdraw");
    assert!(paid > given);
    assert_eq!(code_of(&greed), "INSUFFICIENT_FUNDS", "{greed}");
    assert_eq!((place(&twin, "deposit"), &twin["data"]["deposit"]["replayed"]), (given, &json!(true)));
    let read = on_first.data("admin", query, json!({"id": empty, "at": paid.to_string()})).await;
    assert_eq!(read["account"]["available"], "0.00");

    // What was caught has one effect, whoever is asked, however often.
    let went_through = matches!(commit, Commit::GoesThrough | Commit::GoesThroughWithAnother);
    let at_first = at_first.await.unwrap();
    if let Some(at_second) = at_second {
        assert_eq!(at_second.places, at_first.places);
        assert_eq!(at_second.replayed, went_through);
        // Of a commit that went through, the one that wakes may still hear.
        assert!(at_first.replayed || went_through);
    }
    for client in [&on_first, &on_second] {
        let again = caught.ask(client).await.unwrap();
        assert_eq!((again.places, again.replayed), (at_first.places.clone(), true));
    }
    if let (Some(behind), Some(at_first)) = (&behind, behind_at_first) {
        let again = behind.ask(&on_second).await.unwrap();
        assert_eq!((again.places, again.replayed), (at_first.await.unwrap().places, true));
    }
    soon("the first has stepped down", async {
        while !house.log("first").contains("this node has stepped down") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(house.epoch().await, epoch + 1);

    let transfers = load.settles(&on_first).await;
    for client in [&on_first, &on_second] {
        let paid = format!("{}.{:02}", transfers / 100, transfers % 100);
        assert_eq!(client.balances(&to).await[0], paid, "transfers were lost or doubled");
        assert_eq!(client.balances(&savings).await[0], "8.00", "deposits were lost or doubled");
        let more = if behind.is_some() { "7.00" } else { "0.00" };
        assert_eq!(client.balances(&more_savings).await[0], more, "transfers were lost or doubled");
        client.books_balance().await;
    }
    check(&house, transfers + if behind.is_some() { 2 * MANY } else { 0 }).await;
}

/// The log is dense and whole, has each effect once, and every read model is its fold.
async fn check(house: &House, transfers: usize) {
    let options = house.cluster.connect_options(Role::App);
    let pool = PgPoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
    let wrong = [
        "SELECT count(*) <> max(log_position) OR max(log_position) <> (SELECT log_position FROM log.log_head) \
         FROM log.events",
        "SELECT bool_or(newest <> events) FROM (SELECT max(sequence) AS newest, count(*) AS events FROM log.events \
         GROUP BY aggregate_type, aggregate_id) AS streams",
        "SELECT bool_or(wrong) FROM (SELECT recorded_at < lag(recorded_at) OVER log OR (lag(remaining) OVER log > 0 \
         AND remaining <> lag(remaining) OVER log - 1) AS wrong FROM log.events WINDOW log AS (ORDER BY log_position)) \
         AS pairs",
    ];
    for sql in wrong {
        let is_wrong: Option<bool> = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        assert_eq!(is_wrong, Some(false), "{sql}");
    }
    for (sql, expected) in [
        ("SELECT count(*) FROM log.events WHERE event_type = 'TransferSent'", transfers),
        ("SELECT count(*) FROM log.idempotency_keys WHERE key = 'caught'", 1),
    ] {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        assert_eq!(count as usize, expected, "{sql}");
    }
    let log = Log::open(pool.clone()).await.unwrap();
    for name in projections::names() {
        let found = projections::verify(&pool, &log, name, 5, |_| {}).await.unwrap();
        assert_eq!(found.differing, 0, "{name}: {found:?}");
    }
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_frozen_while_its_commit_waits_in_postgresql_is_followed() {
    frozen_while_its_commit(Commit::Fails).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_commit_goes_through_while_it_is_frozen_is_followed() {
    frozen_while_its_commit(Commit::GoesThrough).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_commits_go_through_one_after_the_other_while_it_is_frozen_is_followed() {
    frozen_while_its_commit(Commit::GoesThroughWithAnother).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_frozen_while_postgresql_talks_to_it_is_followed() {
    frozen_while_its_commit(Commit::Hangs).await;
}
