//! Who may call what: every operation of the schema with every role, and what belongs to others.

use std::collections::BTreeSet;

use api::auth::rights::{Operation, RIGHTS};
use commands::Role;
use serde_json::{Value, json};

use crate::support::TestApp;

/// Every operation and who may call it: t(rader), o(perator), r(isk), c(ompliance), a(uditor), A(dmin).
const CASES: &[(&str, &str, &str)] = &[
    ("query", "head", "torcaA"),
    ("query", "logId", "torcaA"),
    ("query", "account", "torcaA"),
    ("query", "accounts", "torcaA"),
    ("query", "statement", "torcaA"),
    ("query", "loan", "torcaA"),
    ("query", "transfer", "torcaA"),
    ("query", "portfolio", "torcaA"),
    ("query", "portfolios", "torcaA"),
    ("query", "order", "torcaA"),
    ("query", "orders", "torcaA"),
    ("query", "market", "torcaA"),
    ("query", "markets", "torcaA"),
    ("query", "trialBalance", "orcaA"),
    ("query", "events", "orcaA"),
    ("query", "projections", "orcaA"),
    ("mutation", "openAccount", "tA"),
    ("mutation", "deposit", "oA"),
    ("mutation", "withdraw", "oA"),
    ("mutation", "transfer", "tA"),
    ("mutation", "transfers", "tA"),
    ("mutation", "placeHold", "tA"),
    ("mutation", "captureHold", "tA"),
    ("mutation", "releaseHold", "tA"),
    ("mutation", "freezeAccount", "cA"),
    ("mutation", "unfreezeAccount", "cA"),
    ("mutation", "closeAccount", "tA"),
    ("mutation", "setOverdraftLimit", "rA"),
    ("mutation", "reverse", "ocA"),
    ("mutation", "applyForCredit", "tA"),
    ("mutation", "decideCredit", "rA"),
    ("mutation", "disburseLoan", "rA"),
    ("mutation", "repayLoan", "tA"),
    ("mutation", "openPortfolio", "tA"),
    ("mutation", "depositAsset", "oA"),
    ("mutation", "withdrawAsset", "oA"),
    ("mutation", "setRiskLimits", "rA"),
    ("mutation", "placeOrder", "tA"),
    ("mutation", "cancelOrder", "tA"),
    ("mutation", "amendOrder", "tA"),
    ("mutation", "placeOco", "tA"),
    ("mutation", "pauseTrading", "rA"),
    ("mutation", "resumeTrading", "rA"),
    ("mutation", "registerMarket", "oA"),
    ("mutation", "haltMarket", "oA"),
    ("mutation", "resumeMarket", "oA"),
    ("subscription", "events", "orcaA"),
    ("subscription", "account", "torcaA"),
    ("subscription", "orders", "torcaA"),
    ("subscription", "portfolio", "torcaA"),
    ("subscription", "ticker", "torcaA"),
    ("subscription", "trades", "torcaA"),
];

const ROLES: [(char, &str, Role); 6] = [
    ('t', "trader", Role::Trader),
    ('o', "operator", Role::Operator),
    ('r', "risk", Role::Risk),
    ('c', "compliance", Role::Compliance),
    ('a', "auditor", Role::Auditor),
    ('A', "admin", Role::Admin),
];

const INTROSPECTION: &str = "{ __schema {
    queryType { ...fields } mutationType { ...fields } subscriptionType { ...fields }
    types { name kind enumValues { name } inputFields { name defaultValue type { ...type } } } } }
  fragment fields on __Type { fields { name args { name defaultValue type { ...type } } type { ...type } } }
  fragment type on __Type { name kind ofType { name kind ofType { name kind ofType { name kind } } } }";

/// The schema as it describes itself.
struct Schema(Value);

impl Schema {
    fn fields(&self, operation: &str) -> &[Value] {
        self.0["__schema"][format!("{operation}Type")]["fields"].as_array().unwrap()
    }

    fn operations(&self) -> BTreeSet<(String, String)> {
        let of = |kind: &str| {
            let names = self.fields(kind).iter().map(|field| field["name"].as_str().unwrap().to_owned());
            names.map(|name| (kind.to_owned(), name)).collect::<Vec<_>>()
        };
        ["query", "mutation", "subscription"].into_iter().flat_map(of).collect()
    }

    /// A document that calls the operation with everything that it requires.
    fn call(&self, operation: &str, name: &str) -> String {
        let field = self.fields(operation).iter().find(|field| field["name"] == name).unwrap();
        let arguments = self.required(field["args"].as_array().unwrap());
        let arguments = match (operation, name) {
            // From its start, so that there is something to send.
            ("subscription", "events") => "(after: \"0\")".to_owned(),
            _ if arguments.is_empty() => arguments,
            _ => format!("({arguments})"),
        };
        let is_leaf = matches!(self.kind(&named(&field["type"])).as_str(), "SCALAR" | "ENUM");
        let selection = if is_leaf { "" } else { "{ __typename }" };
        format!("{operation} {{ {name}{arguments} {selection} }}")
    }

    fn required(&self, inputs: &[Value]) -> String {
        let is_required =
            |input: &&Value| input["type"]["kind"] == "NON_NULL" && input["defaultValue"].is_null();
        let values = inputs.iter().filter(is_required).map(|input| {
            let name = input["name"].as_str().unwrap();
            format!("{name}: {}", self.value(name, &input["type"]))
        });
        values.collect::<Vec<_>>().join(", ")
    }

    fn value(&self, field: &str, ty: &Value) -> String {
        match ty["kind"].as_str().unwrap() {
            "NON_NULL" => return self.value(field, &ty["ofType"]),
            "LIST" => return format!("[{}]", self.value(field, &ty["ofType"])),
            _ => {}
        }
        let name = ty["name"].as_str().unwrap();
        let described = self.described(name);
        match (name, described["kind"].as_str().unwrap()) {
            (_, "ENUM") => described["enumValues"][0]["name"].as_str().unwrap().to_owned(),
            (_, "INPUT_OBJECT") => {
                format!("{{{}}}", self.required(described["inputFields"].as_array().unwrap()))
            }
            ("Boolean", _) => "true".to_owned(),
            ("Int", _) => "1".to_owned(),
            ("DateTime", _) => "\"2026-01-01T00:00:00Z\"".to_owned(),
            // A trader may act for its own owner only.
            _ if field == "owner" => "\"alice\"".to_owned(),
            _ if field == "currency" => "\"EUR\"".to_owned(),
            _ => "\"1\"".to_owned(),
        }
    }

    fn described(&self, name: &str) -> &Value {
        let types = self.0["__schema"]["types"].as_array().unwrap();
        types.iter().find(|ty| ty["name"] == name).unwrap()
    }

    fn kind(&self, name: &str) -> String {
        self.described(name)["kind"].as_str().unwrap().to_owned()
    }
}

fn named(ty: &Value) -> String {
    if ty["ofType"].is_null() { ty["name"].as_str().unwrap().to_owned() } else { named(&ty["ofType"]) }
}

/// The code of the first error over HTTP or, for a subscription, over a WebSocket.
async fn outcome(app: &TestApp, who: &str, operation: &str, document: &str) -> String {
    if operation != "subscription" {
        return app.send(Some(who), json!({"query": document}).to_string()).await.code();
    }
    let mut live = app.live(who).await;
    live.subscribe("1", document, json!({})).await;
    let message = live.receive().await;
    message["payload"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_lets_in_exactly_the_roles_that_may() {
    let app = TestApp::start().await;
    let schema = Schema(app.data("admin", INTROSPECTION, json!({})).await);
    let cases: BTreeSet<(String, String)> =
        CASES.iter().map(|(kind, field, _)| ((*kind).to_owned(), (*field).to_owned())).collect();
    assert_eq!(schema.operations(), cases, "an operation has no case here, or a case has no operation");
    assert_eq!(cases.len(), CASES.len(), "an operation has two cases");

    for (kind, field, letters) in CASES {
        let operation = match *kind {
            "query" => Operation::Query,
            "mutation" => Operation::Mutation,
            _ => Operation::Subscription,
        };
        let right = RIGHTS.iter().find(|right| right.operation == operation && right.field == *field);
        let right = right.unwrap_or_else(|| panic!("{kind} {field} has no line in the rights"));
        let document = schema.call(kind, field);
        for (letter, who, role) in ROLES {
            let may = letters.contains(letter);
            assert_eq!(right.roles.contains(&role), may, "the rights of {who} to {kind} {field}");
            let before = app.head().await;
            let code = outcome(&app, who, kind, &document).await;
            assert_eq!(code != "FORBIDDEN", may, "{who}: {document}: {code:?}");
            if !may {
                assert_eq!(app.head().await, before, "{who} left an event with {document}");
            }
        }
        if *kind != "subscription" {
            let stranger = app.client.send(None, json!({"query": document}).to_string()).await;
            assert_eq!(stranger.code(), "UNAUTHENTICATED", "{document}");
            assert_eq!(stranger.status, 401, "{document}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_forbidden_field_refuses_the_whole_request_however_it_is_written() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "10").await;
    let input = format!("{{idempotencyKey: \"k\", accountId: \"{account}\", amount: \"1\"}}");
    let before = app.head().await;
    for document in [
        "{ head events { edges { cursor } } }".to_owned(),
        "{ head mine: events { edges { cursor } } }".to_owned(),
        "{ ...f } fragment f on Query { ...g } fragment g on Query { trialBalance { asset } }".to_owned(),
        "{ ... on Query { ... { projections { name } } } }".to_owned(),
        "query a { head } query b { events { edges { cursor } } }".to_owned(),
        format!(
            "mutation {{ a: openAccount(input: {{idempotencyKey: \"o\", owner: \"alice\", currency: \"EUR\"}}) \
             {{ logPosition }} b: deposit(input: {input}) {{ logPosition }} }}"
        ),
    ] {
        let body = json!({"query": document, "operationName": document.contains("query b").then_some("b")});
        let answer = app.send(Some("trader"), body.to_string()).await;
        assert_eq!(answer.code(), "FORBIDDEN", "{document}");
        assert!(answer.json()["data"].is_null(), "{}", answer.text);
    }
    assert_eq!(app.head().await, before, "a part of a forbidden request was carried out");
}
