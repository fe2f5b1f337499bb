//! The bank of eight accounts with a constant total, an account that counts deposits, and two traders; and the requests
//! that clients make of them.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;

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
    name: String,
    random: StdRng,
    made: u64,
}

impl Requests {
    /// Of a client; names of clients are unique in a run.
    pub fn of(scene: &Scene, name: String, random: StdRng) -> Self {
        Self { scene: scene.clone(), name, random, made: 0 }
    }

    /// What the client asks next: one request, or many transfers in one.
    pub fn next(&mut self) -> Vec<Request> {
        match self.random.random_range(0..100) {
            // Enough events for a batch that goes by COPY.
            0..4 => (0..self.random.random_range(70..120)).map(|_| self.transfer()).collect(),
            4..14 => vec![self.too_much()],
            14..30 => vec![self.deposit()],
            30..45 => vec![self.order()],
            _ => vec![self.transfer()],
        }
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
        Request { key, who: "operator", field: "deposit", input }
    }

    fn transfer(&mut self) -> Request {
        let cents = self.random.random_range(1..500);
        self.transfer_of(&format!("{}.{:02}", cents / 100, cents % 100))
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
        Request { key, who: "admin", field: "transfer", input }
    }

    fn order(&mut self) -> Request {
        let key = self.key();
        let (portfolio, side) =
            if self.random.random() { (&self.scene.buyer, "BUY") } else { (&self.scene.seller, "SELL") };
        let input = json!({
            "portfolioId": portfolio, "symbol": "ACME-USDT", "side": side, "type": "LIMIT", "quantity": "1.5",
            "limitPrice": "10", "clientOrderId": key, "idempotencyKey": key,
        });
        Request { key, who: "admin", field: "placeOrder", input }
    }

    fn key(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }
}
