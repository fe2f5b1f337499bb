//! Any command on any node: the same answers, the same keys, the same rights, the same limits.

use std::time::{Duration, Instant};

use commands::bus::BusSettings;
use commands::testing::{admin, deposit, open_account, request, trader, transfer, withdraw};
use commands::{Failure, Principal, Role};
use domain::Code;
use futures::future::join_all;

use crate::{answer, code, count, count_of, nodes, nodes_with};

#[tokio::test]
async fn a_command_on_any_node_is_decided_by_the_one_that_leads() {
    let nodes = nodes(3).await;
    assert!(nodes.iter().skip(1).all(|node| !*node.bus.leads().borrow() && node.bus.is_served()));
    let account = nodes[1].open_account("alice", "EUR").await;
    nodes[2].deposit(&account, "10.00").await;
    nodes[0].accepted(&trader("alice"), withdraw_all(&nodes, &account).await).await;
    let poor = nodes[2].execute(&admin(), withdraw(&account, "0.01")).await;
    assert_eq!(code(&poor), Code::InsufficientFunds);
    assert_eq!(count(&nodes[0], "events").await, 5);
}

/// Moves everything to an account of the same owner.
async fn withdraw_all(
    nodes: &[commands::testing::TestBus],
    from: &domain::ids::AccountId,
) -> commands::Command {
    let to = nodes[1].open_account("alice", "EUR").await;
    transfer(from, &to, "10.00")
}

#[tokio::test]
async fn requests_of_one_call_keep_their_order_and_linked_ones_happen_together() {
    let nodes = nodes(2).await;
    let (from, to) = (nodes[1].open_account("alice", "EUR").await, nodes[1].open_account("bob", "EUR").await);
    let replies = nodes[1]
        .bus
        .execute_all(vec![
            request(&admin(), "in", deposit(&from, "10.00")),
            request(&admin(), "over", transfer(&from, &to, "6.00")),
            request(&admin(), "too much", transfer(&from, &to, "6.00")),
            request(&admin(), "back", transfer(&to, &from, "6.00")),
        ])
        .await;
    answer(&replies[0]);
    answer(&replies[1]);
    assert_eq!(code(&replies[2]), Code::InsufficientFunds);
    answer(&replies[3]);

    let set = vec![
        request(&admin(), "one", transfer(&from, &to, "6.00")),
        request(&admin(), "two", transfer(&from, &to, "6.00")),
    ];
    let replies = nodes[1].bus.execute_linked(set.clone()).await;
    assert_eq!(code(&replies[0]), Code::LinkedFailed);
    assert_eq!(code(&replies[1]), Code::InsufficientFunds);
    let again = nodes[0].bus.execute_linked(set).await;
    assert!(again.iter().all(|reply| reply.as_ref().unwrap().replayed), "the same set, by another node");
    assert_eq!(count_of(&nodes[0], "TransferSent").await, 2);
}

#[tokio::test]
async fn a_key_is_the_same_key_on_every_node() {
    let nodes = nodes(3).await;
    let account = nodes[0].open_account("alice", "EUR").await;
    for (first, again) in [(0, 1), (1, 0), (1, 2), (2, 2)] {
        let key = format!("salary-{first}-{again}");
        let asked = request(&admin(), &key, deposit(&account, "10.00"));
        let before = nodes[first].bus.execute(asked.clone()).await.unwrap();
        let after = nodes[again].bus.execute(asked).await.unwrap();
        assert!(!before.replayed && after.replayed);
        assert_eq!((before.outcome, before.log_position), (after.outcome, after.log_position));
        let other = nodes[again].bus.execute(request(&admin(), &key, deposit(&account, "10.01"))).await;
        assert_eq!(code(&other), Code::IdempotencyConflict);
    }
    let namesake = Principal { name: "admin-2".into(), role: Role::Admin, owner: None };
    let theirs = nodes[2].bus.execute(request(&namesake, "salary-0-1", deposit(&account, "10.00"))).await;
    assert!(!theirs.unwrap().replayed, "another principal's key is another key");
    assert_eq!(count_of(&nodes[0], "FundsDeposited").await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_equal_requests_at_once_on_all_nodes_have_one_effect_and_one_answer() {
    let nodes = nodes(4).await;
    let account = nodes[0].open_account("alice", "EUR").await;
    let asked = request(&admin(), "salary", deposit(&account, "10.00"));
    let replies = join_all((0..64).map(|n| {
        let (bus, asked) = (nodes[n % nodes.len()].bus.clone(), asked.clone());
        tokio::spawn(async move { bus.execute(asked).await })
    }))
    .await;
    let replies: Vec<_> = replies.into_iter().map(|reply| reply.unwrap().unwrap()).collect();
    assert_eq!(count_of(&nodes[0], "FundsDeposited").await, 1);
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1);
    for reply in &replies {
        assert_eq!((&reply.outcome, reply.log_position), (&replies[0].outcome, replies[0].log_position));
    }
}

#[tokio::test]
async fn rights_are_those_of_the_principal_on_every_node() {
    let nodes = nodes(2).await;
    let (mine, yours) =
        (nodes[1].open_account("alice", "EUR").await, nodes[1].open_account("bob", "EUR").await);
    nodes[1].deposit(&yours, "10.00").await;
    let theft = request(&trader("alice"), "theft", transfer(&yours, &mine, "5.00"));
    assert!(matches!(nodes[1].bus.execute(theft).await, Err(Failure::Forbidden(_))));
    let press = request(&trader("alice"), "press", deposit(&mine, "5.00"));
    assert!(matches!(nodes[1].bus.execute(press).await, Err(Failure::Forbidden(_))));
    assert_eq!(
        code(&nodes[1].bus.execute(request(&admin(), "tab\t", open_account("a", "EUR"))).await),
        Code::InvalidIdempotencyKey
    );
    assert_eq!(count_of(&nodes[0], "TransferSent").await, 0);
}

#[tokio::test]
async fn a_follower_has_the_same_limit_and_refuses_at_once() {
    let settings = BusSettings { queue: 4, ..BusSettings::default() };
    let nodes = nodes_with(2, &settings).await;
    let account = nodes[0].open_account("alice", "EUR").await;
    let mut head = nodes[0].database.superuser.begin().await.unwrap();
    sqlx::query("SELECT FROM log.log_head FOR UPDATE").execute(&mut *head).await.unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|n| {
            let (bus, asked) =
                (nodes[1].bus.clone(), request(&admin(), &format!("key-{n}"), deposit(&account, "1.00")));
            tokio::spawn(async move { bus.execute(asked).await })
        })
        .collect();
    // On the one thread of this test, all of them take their places now.
    tokio::task::yield_now().await;
    let begun = Instant::now();
    let one_more = request(&admin(), "one-more", deposit(&account, "1.00"));
    assert_eq!(nodes[1].bus.execute(one_more).await, Err(Failure::Overloaded));
    assert!(begun.elapsed() < Duration::from_millis(500));
    head.rollback().await.unwrap();
    for reply in join_all(waiting).await {
        answer(&reply.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_large_call_is_answered_as_one() {
    let nodes = nodes(2).await;
    let account = nodes[1].open_account("alice", "EUR").await;
    let asked: Vec<_> =
        (0..4_000).map(|n| request(&admin(), &format!("key-{n}"), deposit(&account, "0.01"))).collect();
    for reply in nodes[1].bus.execute_all(asked).await {
        answer(&reply);
    }
    nodes[1].accepted(&admin(), withdraw(&account, "40.00")).await;
}

/// With a retention of nothing a key is gone as soon as the leader prunes, which it does in the middle of all this.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_keys_are_pruned_requests_come_in_at_all_nodes_and_none_fails() {
    let settings = BusSettings { key_retention: Duration::ZERO, ..BusSettings::default() };
    let nodes = nodes_with(3, &settings).await;
    let account = nodes[0].open_account("alice", "EUR").await;
    let pruning = tokio::spawn({
        let keys = event_store::Keys::new(nodes[0].pool().clone());
        async move {
            loop {
                // As the leader does, only more often.
                keys.prune(chrono::Utc::now(), Duration::ZERO, 50).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let clients = (0..24usize).map(|client| {
        let (bus, account) = (nodes[client % 3].bus.clone(), account.clone());
        tokio::spawn(async move {
            for n in 0..40 {
                let asked = request(&admin(), &format!("{client}-{n}"), deposit(&account, "0.01"));
                let twins = bus.execute_all(vec![asked.clone(), asked]).await;
                assert_eq!(
                    answer(&twins[0]),
                    answer(&twins[1]),
                    "twins in one call are one effect all the same"
                );
                assert!(twins[1].as_ref().unwrap().replayed);
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    pruning.abort();
    assert_eq!(count_of(&nodes[0], "FundsDeposited").await, 24 * 40);
}

#[tokio::test]
async fn a_stranger_at_the_port_for_nodes_is_told_nothing_and_disturbs_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let nodes = nodes(2).await;
    let address: String = sqlx::query_scalar("SELECT address FROM log.leader_contact")
        .fetch_one(nodes[0].pool())
        .await
        .unwrap();
    let frame = |json: &str| [&(json.len() as u32).to_be_bytes(), json.as_bytes()].concat();
    let proof = "00".repeat(32);
    for said in [
        b"GET / HTTP/1.1\r\nHost: daybook\r\n\r\n".to_vec(),
        vec![0xff; 64],
        frame("[]"),
        frame(&format!(r#"{{"protocol":1,"node":"node-9","nonce":"00","proof":"{proof}"}}"#)),
        frame(r#"{"protocol":2,"node":"node-9","nonce":"00","proof":""}"#),
    ] {
        let mut stranger = tokio::net::TcpStream::connect(&address).await.unwrap();
        let mut length = [0; 4];
        stranger.read_exact(&mut length).await.unwrap();
        let mut hello = vec![0; u32::from_be_bytes(length) as usize];
        stranger.read_exact(&mut hello).await.unwrap();
        stranger.write_all(&said).await.unwrap();
        let mut rest = Vec::new();
        // An end or a reset, but no word.
        let ended = tokio::time::timeout(crate::LIMIT, stranger.read_to_end(&mut rest)).await;
        assert!(ended.is_ok() && rest.is_empty(), "{said:?}: {rest:?}");
    }
    nodes[1].open_account("alice", "EUR").await;
}
