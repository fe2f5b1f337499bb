//! Reads of one's own writes, pages under writes, the log and its filters, the projections.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{TestApp, fresh_key, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_includes_the_write_it_names_or_is_refused() {
    let app = TestApp::start().await;
    let account = app.open_account("alice", "EUR").await;
    let query = "query($id: ID!, $at: LogPosition) { account(id: $id, atLeast: $at) { balance logPosition sequence } }";
    for n in 1_u64..=30 {
        let done = app.done("operator", "deposit", json!({"accountId": account, "amount": "1"}), "").await;
        let answer = app.data("alice", query, json!({"id": account, "at": done["logPosition"]})).await;
        assert_eq!(answer["account"]["balance"], format!("{n}.00"));
        assert_eq!(answer["account"]["sequence"], (n + 1).to_string());
        let read_at: u64 = text(&answer["account"]["logPosition"]).parse().unwrap();
        assert!(read_at >= text(&done["logPosition"]).parse().unwrap());
    }
    let head = app.head().await;
    for at in [(head + 1).to_string(), (head + 1_000_000).to_string(), "9".repeat(40)] {
        let variables = json!({"id": account, "at": at});
        assert_eq!(app.fails("alice", query, variables).await, "BEYOND_HEAD", "{at}");
        for list in ["accounts { edges { cursor } }", "trialBalance { asset }", "orders { edges { cursor } }"]
        {
            let (name, rest) = list.split_once(' ').unwrap();
            let query = format!("{{ {name}(atLeast: \"{at}\") {rest} }}");
            assert_eq!(app.fails("admin", &query, json!({})).await, "BEYOND_HEAD", "{query}");
        }
    }
    for at in [json!(1), json!("-1"), json!("1.5"), json!(""), json!("one")] {
        let code = app.fails("alice", query, json!({"id": account, "at": at})).await;
        assert_eq!(code, "BAD_REQUEST", "{at}");
    }
}

/// Walks a connection page by page and gives the nodes; `between` runs after each page.
async fn walk<F: Future<Output = ()>>(
    app: &TestApp,
    who: &str,
    query: &str,
    path: &[&str],
    variables: Value,
    mut between: impl FnMut() -> F,
) -> Vec<Value> {
    let mut nodes = Vec::new();
    let mut variables = variables;
    loop {
        let mut connection = app.data(who, query, variables.clone()).await;
        for step in path {
            connection = connection[step].take();
        }
        let edges = connection["edges"].as_array().unwrap();
        nodes.extend(edges.iter().map(|edge| edge["node"].clone()));
        between().await;
        if connection["pageInfo"]["hasNextPage"] == false {
            return nodes;
        }
        assert_eq!(connection["pageInfo"]["endCursor"], edges.last().unwrap()["cursor"]);
        variables["after"] = connection["pageInfo"]["endCursor"].clone();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_under_writes_show_every_row_once_and_in_a_stable_order() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "1000").await;
    let other = app.open_account("alice", "EUR").await;
    let pay = |n: usize| json!({"idempotencyKey": fresh_key(), "from": account, "to": other, "amount": "1", "reference": n.to_string()});
    let many = "mutation($inputs: [TransferInput!]!) { transfers(inputs: $inputs) { logPosition } }";
    let inputs: Vec<_> = (0..60).map(pay).collect();
    let last =
        app.data("alice", many, json!({"inputs": inputs})).await["transfers"][59]["logPosition"].take();

    let query = "query($id: ID!, $after: String, $at: LogPosition) { account(id: $id, atLeast: $at) {
        entries(first: 7, after: $after) { edges { cursor node { reference logPosition } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }";
    let app_ref = &app;
    let mut written = 60;
    let entries =
        walk(app_ref, "alice", query, &["account", "entries"], json!({"id": account, "at": last}), || {
            // Writes go on while pages are read, but not for ever.
            let input = (written < 75).then(|| pay(written));
            written += 1;
            async move {
                if let Some(input) = input {
                    app_ref.done("alice", "transfer", input, "").await;
                }
            }
        })
        .await;
    let references: Vec<_> = entries.iter().skip(1).map(|entry| text(&entry["reference"])).collect();
    let expected: Vec<_> = (0..references.len()).map(|n| n.to_string()).collect();
    assert!(references.len() >= 60);
    assert_eq!(references, expected, "a row twice, missing or out of order");

    for n in 0..25 {
        app.open_account("bob", if n % 2 == 0 { "EUR" } else { "USD" }).await;
    }
    let query = "query($after: String, $at: LogPosition) { accounts(owner: \"bob\", first: 4, after: $after, atLeast: $at) {
        edges { cursor node { id } } pageInfo { hasNextPage endCursor } } }";
    let at = json!({"at": app.head().await.to_string()});
    let accounts = walk(app_ref, "bob", query, &["accounts"], at, || async {}).await;
    let ids: BTreeSet<_> = accounts.iter().map(|account| text(&account["id"])).collect();
    assert_eq!((ids.len(), accounts.len()), (25, 25));

    for (first, code) in
        [("0", "BAD_REQUEST"), ("-1", "BAD_REQUEST"), ("201", "BAD_REQUEST"), ("2147483647", "BAD_REQUEST")]
    {
        let query = format!("{{ accounts(first: {first}) {{ edges {{ cursor }} }} }}");
        assert_eq!(app.fails("admin", &query, json!({})).await, code, "{first}");
    }
    for after in ["", "x", "999999999999999999999999", "\u{0}", &"z".repeat(100_000)] {
        for list in ["accounts", "portfolios", "orders", "events"] {
            let query = format!(
                "query($after: String) {{ {list}(first: 1, after: $after) {{ edges {{ cursor }} }} }}"
            );
            assert_eq!(
                app.fails("admin", &query, json!({"after": after})).await,
                "BAD_REQUEST",
                "{list} {after:.20}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_forward_backward_and_by_every_filter() {
    let app = TestApp::start().await;
    let alice = app.funded("alice", "EUR", "50").await;
    let bob = app.open_account("bob", "EUR").await;
    for _ in 0..20 {
        app.done("alice", "transfer", json!({"from": alice, "to": bob, "amount": "1"}), "").await;
    }
    let head = app.head().await;
    let query = "query($after: String) { events(first: 9, after: $after) { edges { cursor node {
        logPosition id aggregateType aggregateId sequence type version payload metadata recordedAt } }
        pageInfo { hasNextPage endCursor } } }";
    let all = walk(&app, "auditor", query, &["events"], json!({}), || async {}).await;
    let positions: Vec<_> = all.iter().map(|event| text(&event["logPosition"])).collect();
    assert_eq!(positions, (1..=head).map(|position| position.to_string()).collect::<Vec<_>>());

    let last =
        "{ events(last: 5) { edges { node { logPosition } } pageInfo { hasPreviousPage hasNextPage } } }";
    let newest = app.data("auditor", last, json!({})).await["events"].take();
    let shown: Vec<_> =
        newest["edges"].as_array().unwrap().iter().map(|edge| text(&edge["node"]["logPosition"])).collect();
    assert_eq!(shown, ((head - 4)..=head).map(|position| position.to_string()).collect::<Vec<_>>());
    assert_eq!(newest["pageInfo"], json!({"hasPreviousPage": true, "hasNextPage": false}));
    let before = "{ events(last: 2, before: \"5\") { edges { node { logPosition } } } }";
    let shown = app.data("auditor", before, json!({})).await["events"]["edges"].take();
    assert_eq!(shown, json!([{"node": {"logPosition": "3"}}, {"node": {"logPosition": "4"}}]));
    assert_eq!(
        app.fails("auditor", "{ events(first: 1, last: 1) { edges { cursor } } }", json!({})).await,
        "BAD_REQUEST"
    );

    let sample = &all[head as usize - 1];
    let meta = |name: &str| text(&sample["metadata"][name]);
    let is = |event: &Value, field: &str, value: &str| event[field] == value;
    let recorded = text(&sample["recordedAt"]);
    type Expected<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let cases: Vec<(Value, Expected<'_>)> = vec![
        (json!({"aggregateType": "account"}), Box::new(|event| is(event, "aggregateType", "account"))),
        (json!({"aggregateType": "order"}), Box::new(|_| false)),
        (
            json!({"aggregateType": "account", "aggregateId": bob}),
            Box::new(|event| is(event, "aggregateId", &bob)),
        ),
        (
            json!({"types": ["AccountOpened", "TransferSent"]}),
            Box::new(|event| is(event, "type", "AccountOpened") || is(event, "type", "TransferSent")),
        ),
        (json!({"actor": "alice"}), Box::new(|event| event["metadata"]["actor"] == "alice")),
        (json!({"actor": "nobody"}), Box::new(|_| false)),
        (
            json!({"actor": "alice", "types": ["TransferReceived"], "aggregateId": bob}),
            Box::new(|event| event["metadata"]["actor"] == "alice" && is(event, "type", "TransferReceived")),
        ),
        (
            json!({"commandId": meta("command_id")}),
            Box::new(|event| event["metadata"]["command_id"] == sample["metadata"]["command_id"]),
        ),
        (
            json!({"correlationId": meta("correlation_id")}),
            Box::new(|event| event["metadata"]["correlation_id"] == sample["metadata"]["correlation_id"]),
        ),
        (json!({"from": recorded}), Box::new(|event| text(&event["recordedAt"]) >= recorded)),
        (json!({"to": recorded}), Box::new(|event| text(&event["recordedAt"]) < recorded)),
    ];
    let query = "query($filter: EventFilter, $first: Int, $last: Int) {
        events(filter: $filter, first: $first, last: $last) { edges { node { logPosition } } } }";
    // The filters by metadata are a projection's, which follows the log.
    let at = format!("{{ account(id: \"{alice}\", atLeast: \"{head}\") {{ id }} }}");
    app.data("auditor", &at, json!({})).await;
    for (filter, is_wanted) in cases {
        let expected: Vec<_> =
            all.iter().filter(|event| is_wanted(event)).map(|event| event["logPosition"].clone()).collect();
        for direction in ["first", "last"] {
            let found = app.data("auditor", query, json!({"filter": filter, direction: 200})).await;
            let found: Vec<_> = found["events"]["edges"]
                .as_array()
                .unwrap()
                .iter()
                .map(|edge| edge["node"]["logPosition"].clone())
                .collect();
            assert_eq!(found, expected, "{filter} {direction}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_projection_says_how_far_it_is() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "50").await;
    let head = app.head().await.to_string();
    app.data("admin", &format!("{{ account(id: \"{account}\", atLeast: \"{head}\") {{ id }} }}"), json!({}))
        .await;
    let answer =
        app.data("auditor", "{ projections { name version logPosition lag state } logId }", json!({})).await;
    let projections = answer["projections"].as_array().unwrap();
    let names: Vec<_> = projections.iter().map(|projection| text(&projection["name"])).collect();
    assert_eq!(
        names.iter().collect::<BTreeSet<_>>(),
        projections::names().iter().map(|n| n.to_string()).collect::<Vec<_>>().iter().collect()
    );
    for projection in projections {
        assert_eq!(projection["state"], "LIVE", "{projection}");
        assert!(projection["lag"].is_string(), "{projection}");
    }
    assert_eq!(text(&answer["logId"]).len(), 36);
}
