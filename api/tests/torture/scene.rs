//! The bank of eight accounts with a constant total, an account that counts deposits, and two traders; and the requests
//! that clients make of them.

use chrono::{Duration, SecondsFormat, Utc};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::hold_check::{captured, released};
use crate::holds::{OpenHold, OpenHolds};
use crate::journal::Request;
use crate::support::Client;

/// Accounts of the bank.
pub const ACCOUNTS: usize = 8;
/// What each has at first, in cents.
const FUNDED: i128 = 100_000;
/// What all have together, always, in cents.
pub const TOTAL: i128 = FUNDED * ACCOUNTS as i128;
/// Who owns them.
pub const BANK: &str = "bank";
/// One call of so many is about a hold.
const HOLDS_SHARE: u32 = 5;
/// Clients know of about half as many open holds.
const OPEN_HOLDS: usize = 12;

/// Ids of what the requests are about.
#[derive(Clone, Debug)]
pub struct Scene {
    pub bank: Vec<String>,
    pub tally: String,
    buyer: String,
    seller: String,
}

impl Scene {
    pub async fn set_up(client: &Client) -> Self {
        let mut bank = Vec::new();
        for _ in 0..ACCOUNTS {
            bank.push(client.funded(BANK, "EUR", &(FUNDED / 100).to_string()).await);
        }
        let tally = client.open_account("tally", "EUR").await;
        let buyer_cash = client.funded("buyer", "USDT", "100000000").await;
        let seller_cash = client.open_account("seller", "USDT").await;
        let buyer = client.open_portfolio("buyer", &buyer_cash).await;
        let seller = client.open_portfolio("seller", &seller_cash).await;
        client.register_market("ACME-USDT", "INTERNAL").await;
        let input = json!({"portfolioId": seller, "asset": "ACME", "quantity": "10000000", "unitCost": "1"});
        client.done("operator", "depositAsset", input, "").await;
        Self { bank, tally, buyer, seller }
    }
}

/// Makes up what a client asks, from its own random numbers.
pub struct Requests {
    scene: Scene,
    holds: OpenHolds,
    name: String,
    random: StdRng,
    made: u64,
}

impl Requests {
    /// Of a client; names of clients are unique in a run.
    pub fn of(scene: &Scene, holds: &OpenHolds, name: String, random: StdRng) -> Self {
        Self { scene: scene.clone(), holds: holds.clone(), name, random, made: 0 }
    }

    /// What the client asks next, in calls at the same time: each is one request, or many transfers in one.
    pub fn next(&mut self) -> Vec<Vec<Request>> {
        if self.random.random_range(0..HOLDS_SHARE) == 0 {
            return self.about_a_hold().into_iter().map(|request| vec![request]).collect();
        }
        vec![match self.random.random_range(0..100) {
            // Enough events for a batch that goes by COPY.
            0..4 => (0..self.random.random_range(70..120)).map(|_| self.transfer()).collect(),
            4..14 => vec![self.too_much()],
            14..30 => vec![self.deposit()],
            30..45 => vec![self.order()],
            _ => vec![self.transfer()],
        }]
    }

    /// Whether the next request is to be sent by several at once.
    pub fn has_twins(&mut self) -> bool {
        self.random.random_range(0..20) == 0
    }

    pub fn pause_ms(&mut self) -> u64 {
        self.random.random_range(2..20)
    }

    /// The server to ask.
    pub fn server(&mut self) -> usize {
        self.random.random_range(0..64)
    }

    /// One unit into the counting account; always accepted.
    pub fn deposit(&mut self) -> Request {
        let key = self.key();
        let input =
            json!({"accountId": self.scene.tally, "amount": "1.00", "reference": key, "idempotencyKey": key});
        named_by_key(key, "operator", "deposit", input)
    }

    fn transfer(&mut self) -> Request {
        let cents = self.random.random_range(1..500);
        self.transfer_of(&decimal(cents))
    }

    /// More than the bank has: always refused.
    fn too_much(&mut self) -> Request {
        self.transfer_of("99999999.00")
    }

    fn transfer_of(&mut self, amount: &str) -> Request {
        let key = self.key();
        let from = self.random.random_range(0..ACCOUNTS);
        let to = (from + self.random.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let (from, to) = (&self.scene.bank[from], &self.scene.bank[to]);
        let input =
            json!({"from": from, "to": to, "amount": amount, "reference": key, "idempotencyKey": key});
        named_by_key(key, "admin", "transfer", input)
    }

    /// Places a hold or ends one: one request, or two that race.
    fn about_a_hold(&mut self) -> Vec<Request> {
        if self.holds.count() <= self.random.random_range(0..OPEN_HOLDS) {
            return vec![self.place_hold()];
        }
        let what = self.random.random_range(0..10);
        let hold =
            if what == 0 { self.holds.look(&mut self.random) } else { self.holds.take(&mut self.random) };
        let Some(hold) = hold else { return vec![self.place_hold()] };
        match what {
            0 => vec![self.capture(&hold, Some(hold.cents + 1))],
            1..4 => vec![self.capture_part(&hold)],
            4 => vec![self.capture(&hold, None)],
            5..7 => vec![self.release(&hold)],
            7 => vec![self.capture(&hold, None), self.release(&hold)],
            _ => vec![self.capture_part(&hold), self.release(&hold)],
        }
    }

    /// Every fifth one ends by itself soon, unless somebody ends it before.
    fn place_hold(&mut self) -> Request {
        let key = self.key();
        let account = &self.scene.bank[self.random.random_range(0..ACCOUNTS)];
        let amount = decimal(self.random.random_range(2..500));
        let mut input =
            json!({"accountId": account, "amount": amount, "reference": key, "idempotencyKey": key});
        if self.random.random_range(0..5) == 0 {
            let expires_at = Utc::now() + Duration::milliseconds(self.random.random_range(200..3_000));
            input["expiresAt"] = expires_at.to_rfc3339_opts(SecondsFormat::Micros, true).into();
        }
        named_by_key(key, "admin", "placeHold", input)
    }

    fn capture_part(&mut self, hold: &OpenHold) -> Request {
        let cents = self.random.random_range(1..hold.cents);
        self.capture(hold, Some(cents))
    }

    /// Without an amount the whole hold; it goes to another account of the bank.
    fn capture(&mut self, hold: &OpenHold, cents: Option<i128>) -> Request {
        let key = self.key();
        let others: Vec<&String> = self.scene.bank.iter().filter(|other| **other != hold.account).collect();
        let to = others[self.random.random_range(0..others.len())];
        let effect = captured(&hold.id, to, cents.unwrap_or(hold.cents));
        let amount = cents.map(decimal);
        let input = json!({"holdId": hold.id, "to": to, "amount": amount, "idempotencyKey": key});
        Request { key, who: "admin", field: "captureHold", input, effect }
    }

    fn release(&mut self, hold: &OpenHold) -> Request {
        let key = self.key();
        let input = json!({"holdId": hold.id, "idempotencyKey": key});
        Request { key, who: "admin", field: "releaseHold", input, effect: released(&hold.id) }
    }

    fn order(&mut self) -> Request {
        let key = self.key();
        let (portfolio, side) =
            if self.random.random() { (&self.scene.buyer, "BUY") } else { (&self.scene.seller, "SELL") };
        let input = json!({
            "portfolioId": portfolio, "symbol": "ACME-USDT", "side": side, "type": "LIMIT", "quantity": "1.5",
            "limitPrice": "10", "clientOrderId": key, "idempotencyKey": key,
        });
        named_by_key(key, "admin", "placeOrder", input)
    }

    fn key(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }
}

/// A request whose effect bears its key.
fn named_by_key(key: String, who: &'static str, field: &'static str, input: Value) -> Request {
    Request { effect: key.clone(), key, who, field, input }
}

fn decimal(cents: i128) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
