//! Which accounts a load touches: evenly, by Zipf's law, or one of them always. The same for the same client and request, so
//! that every peer has the same work.

use std::sync::Arc;

use domain::ids::AccountId;

/// How a load is spread over the accounts.
#[derive(Clone, Debug)]
pub enum Spread {
    /// Every account as often.
    Even,
    /// The account of rank k as often as 1/k, by the sums of these weights up to each rank.
    Zipf(Arc<[f64]>),
    /// Every transfer pays or is paid by the first account.
    OneHot,
}

impl Spread {
    /// Zipf's law with the exponent 1 over so many accounts.
    pub fn zipf(accounts: usize) -> Self {
        let sums = (1..=accounts).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        Self::Zipf(sums.collect())
    }

    /// The two different accounts of a client's request: who pays and who is paid.
    pub fn pair<'a>(
        &self,
        accounts: &'a [AccountId],
        client: usize,
        number: usize,
    ) -> (&'a AccountId, &'a AccountId) {
        let (first, second) = self.indexes(accounts.len(), client, number);
        (&accounts[first], &accounts[second])
    }

    /// The places of the two among so many.
    pub fn indexes(&self, accounts: usize, client: usize, number: usize) -> (usize, usize) {
        let random = split_mix(((client as u64) << 32) | number as u64);
        match self {
            Self::Even => {
                let first = (random >> 32) as usize % accounts;
                let distance = 1 + (random as u32) as usize % (accounts - 1);
                (first, (first + distance) % accounts)
            }
            Self::Zipf(sums) => {
                let first = drawn(sums, random, accounts);
                let second = drawn(sums, split_mix(random), accounts);
                (first, if first == second { (second + 1) % accounts } else { second })
            }
            Self::OneHot => {
                let other = 1 + (random >> 32) as usize % (accounts - 1);
                if number.is_multiple_of(2) { (0, other) } else { (other, 0) }
            }
        }
    }
}

/// The account of a random rank. Ranks are scattered over the accounts: those opened one after the other are neighbours in
/// every index.
fn drawn(sums: &[f64], random: u64, accounts: usize) -> usize {
    // Prime, so no two ranks meet in one account.
    const STRIDE: usize = 61_813;
    let total = sums.last().copied().unwrap_or_default();
    let at = random as f64 / u64::MAX as f64 * total;
    let rank = sums.partition_point(|sum| *sum < at).min(sums.len() - 1);
    rank * STRIDE % accounts
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn split_mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
