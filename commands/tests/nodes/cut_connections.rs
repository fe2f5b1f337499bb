//! The connection from a follower to the leader is cut while requests are under way: each ends with its one effect and is
//! answered, and nobody is deposed for it.

use std::time::{Duration, Instant};

use commands::testing::{admin, deposit, open_account, request, transfer, withdraw};
use commands::{BusSettings, Failure, Request};
use domain::Code;
use domain::ids::AccountId;
use event_store::embedded::testing::TestDatabase;
use futures::future::join_all;

use crate::journal::Load;
use crate::node::Node;
use crate::peer_wire::{Cut, PeerWire, Point};
use crate::taking_over::{Scene, one};
use crate::{LIMIT, answer, code};

/// After a cut that both sides learn of; mostly within a quarter of a second, but the machine may be busy.
const SOON: Duration = Duration::from_secs(5);

/// A leader that the other two reach through a wire.
async fn scene() -> (Scene, PeerWire) {
    let (database, wire) = (TestDatabase::create().await.unwrap(), PeerWire::new().await);
    let settings = wire.settings();
    let leader = Node::start_with(&database, "node-0", None, |context| context.peer = Some(settings)).await;
    let mut nodes = vec![leader];
    for name in ["node-1", "node-2"] {
        nodes.push(Node::start(&database, name).await);
    }
    (Scene::of(database, nodes).await, wire)
}

impl Scene {
    async fn epoch(&self) -> i64 {
        one(&self.database.app, "SELECT epoch FROM log.log_head").await
    }

    /// Any node answers again what was answered first.
    async fn answers_again(&self, asked: &[Request], first: &[commands::Receipt]) {
        for node in &self.nodes {
            for (again, first) in node.bus.execute_all(asked.to_vec()).await.iter().zip(first) {
                let again = again.as_ref().unwrap();
                assert!(again.replayed);
                assert_eq!((&again.outcome, again.log_position), (&first.outcome, first.log_position));
            }
        }
    }

    async fn events_of(&self, account: &AccountId) -> i64 {
        let sql = "SELECT count(*) FROM log.events WHERE aggregate_type = 'account' AND aggregate_id = $1";
        sqlx::query_scalar(sql).bind(account.as_str()).fetch_one(&self.database.app).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_whose_connection_is_cut_at_any_point_has_one_effect_and_an_answer() {
    let (scene, wire) = scene().await;
    let (bus, epoch) = (&scene.nodes[1].bus, scene.epoch().await);
    for point in Point::ALL {
        // A fifth loss would be told.
        for (cut, times) in [(Cut::Closed, 1), (Cut::Closed, 4), (Cut::Silent, 1)] {
            let before = scene.events_of(&scene.poor).await;
            let asked =
                request(&admin(), &format!("{point:?}-{cut:?}-{times}"), deposit(&scene.poor, "1.00"));
            wire.cut(point, cut, times);
            let begun = Instant::now();
            let receipt = bus.execute(asked.clone()).await.unwrap_or_else(|failure| {
                panic!("{point:?} {cut:?} {times}: {failure:?} after {:?}", begun.elapsed())
            });
            let told = format!("{point:?} {cut:?} {times} times, {:?}", begun.elapsed());
            println!("{told}");
            answer(&Ok(receipt.clone()));
            assert_eq!(wire.to_come(), 0, "{told}");
            assert!(
                begun.elapsed() < if cut == Cut::Closed { SOON } else { BusSettings::default().patience }
            );
            match point {
                Point::CallLost | Point::CallTorn => assert!(!receipt.replayed, "{told}"),
                Point::AnswerLost | Point::AnswerTorn => assert!(receipt.replayed, "{told}"),
                // The leader may still be at it when it is asked again.
                Point::CallArrived => {}
            }
            scene.answers_again(&[asked], &[receipt]).await;
            assert_eq!(scene.events_of(&scene.poor).await, before + 1, "{told}");
        }
    }
    assert_eq!(scene.epoch().await, epoch, "a cut deposes nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_calls_on_a_connection_that_is_cut_have_one_effect_each_in_their_order() {
    let (scene, wire) = scene().await;
    let epoch = scene.epoch().await;
    let cuts =
        Point::ALL.map(|point| [(point, Cut::Closed, 1), (point, Cut::Closed, 3), (point, Cut::Silent, 1)]);
    for (round, (point, cut, times)) in cuts.into_iter().flatten().enumerate() {
        let bus = &scene.nodes[1 + round % 2].bus;
        let open = request(&admin(), &format!("{round}-open"), open_account("carol", "EUR"));
        let account = answer(&bus.execute(open).await).account_id.unwrap();
        let key = |name: &str| format!("{round}-{name}");
        let alone: Vec<_> = (0..8)
            .map(|n| request(&admin(), &key(&format!("alone-{n}")), deposit(&account, "1.00")))
            .collect();
        let mut together: Vec<_> = (0..20)
            .map(|n| request(&admin(), &key(&format!("call-{n}")), transfer(&scene.rich, &account, "1.00")))
            .collect();
        together.push(request(&admin(), &key("too-much"), withdraw(&account, "1000.00")));
        let linked: Vec<_> =
            ["one", "two"].map(|n| request(&admin(), &key(n), deposit(&account, "1.00"))).into();

        wire.cut(point, cut, times);
        let (alone_told, together_told, linked_told) = tokio::join!(
            join_all(alone.iter().map(|asked| bus.execute(asked.clone()))),
            bus.execute_all(together.clone()),
            bus.execute_linked(linked.clone()),
        );
        let told = format!("{point:?} {cut:?} {times} times");
        // Calls may share the frames that are struck, so that not all strikes are used up.
        assert!(wire.to_come() < times, "{told}");
        wire.cut(point, cut, 0);
        for reply in alone_told.iter().chain(&together_told[..20]).chain(&linked_told) {
            assert!(reply.is_ok(), "{told}: {reply:?}");
            answer(reply);
        }
        assert_eq!(code(&together_told[20]), Code::InsufficientFunds, "{told}");
        let firsts = |told: Vec<_>| told.into_iter().map(Result::unwrap).collect::<Vec<commands::Receipt>>();
        let (alone_told, together_told, linked_told) =
            (firsts(alone_told), firsts(together_told), firsts(linked_told));
        assert!(together_told[..20].is_sorted_by_key(|receipt| receipt.log_position), "{told}");

        scene.answers_again(&alone, &alone_told).await;
        scene.answers_again(&together, &together_told).await;
        for node in &scene.nodes {
            for (again, first) in node.bus.execute_linked(linked.clone()).await.iter().zip(&linked_told) {
                let again = again.as_ref().unwrap();
                assert!(again.replayed, "{told}");
                assert_eq!(again.log_position, first.log_position, "{told}");
            }
        }
        assert_eq!(scene.events_of(&account).await, 1 + 8 + 20 + 2, "{told}");
    }
    assert_eq!(scene.epoch().await, epoch, "a cut deposes nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_are_cut_again_and_again_under_load_lose_nothing() {
    let (scene, wire) = scene().await;
    let epoch = scene.epoch().await;
    let load = Load::start(16, &[&scene.nodes[1].bus, &scene.nodes[2].bus], &scene.rich, &scene.poor);
    load.goes_on(100).await;
    let begun = Instant::now();
    for point in [Point::ALL; 6].into_iter().flatten() {
        wire.cut(point, Cut::Closed, 2);
        let struck = async {
            while wire.to_come() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LIMIT, struck).await.expect("calls go through the wire");
        load.goes_on(100).await;
    }
    println!("{:?} without an acknowledgement at most", load.outage_since(begun));
    assert!(load.outage_since(begun) < SOON);
    assert_eq!(load.errors(), Vec::<Failure>::new());
    assert_eq!(scene.epoch().await, epoch, "a cut deposes nobody");
    scene.settles(load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_wait_for_a_leader_that_cannot_be_reached_for_a_while() {
    let (scene, wire) = scene().await;
    let (bus, epoch) = (scene.nodes[1].bus.clone(), scene.epoch().await);
    wire.set_down(true);
    wire.cut(Point::AnswerLost, Cut::Closed, 1);
    let asked = request(&admin(), "wage", deposit(&scene.poor, "1.00"));
    let wage = tokio::spawn({
        let (bus, asked) = (bus.clone(), asked.clone());
        async move { bus.execute(asked).await }
    });
    let cut = async {
        while bus.is_served() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, cut).await.expect("it knows that it cannot reach the leader");
    let late = request(&admin(), "late", deposit(&scene.poor, "1.00"));
    let late = tokio::spawn(async move { bus.execute(late).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!wage.is_finished() && !late.is_finished() && !scene.nodes[1].bus.is_served());
    wire.set_down(false);
    let mended = Instant::now();
    let wage = wage.await.unwrap().unwrap();
    answer(&Ok(wage.clone()));
    assert!(wage.replayed && !late.await.unwrap().unwrap().replayed);
    assert!(mended.elapsed() < SOON);
    scene.answers_again(&[asked], &[wage]).await;
    assert_eq!(scene.events_of(&scene.poor).await, 1 + 2);
    assert_eq!(scene.epoch().await, epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_is_lost_five_times_is_told_so_and_its_key_settles_it() {
    let (scene, wire) = scene().await;
    for (point, has_happened) in [(Point::CallLost, false), (Point::AnswerLost, true)] {
        let asked = request(&admin(), &format!("{point:?}"), deposit(&scene.poor, "1.00"));
        let before = scene.events_of(&scene.poor).await;
        wire.cut(point, Cut::Closed, 5);
        assert_eq!(scene.nodes[1].bus.execute(asked.clone()).await, Err(Failure::Unavailable));
        assert_eq!(wire.to_come(), 0);
        let settled = scene.nodes[1].bus.execute(asked.clone()).await.unwrap();
        answer(&Ok(settled.clone()));
        assert_eq!(settled.replayed, has_happened);
        scene.answers_again(&[asked], &[settled]).await;
        assert_eq!(scene.events_of(&scene.poor).await, before + 1);
    }
}
