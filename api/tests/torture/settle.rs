//! Asking again: what is unknown gets its answer, and what has one gets the same.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::asking::{Answer, send};
use crate::findings::Check;
use crate::journal::{Number, Told};
use crate::load::Load;

/// Requests that are asked again at the same time.
const AT_ONCE: usize = 16;
/// Of those that have an answer, the newest and some others are asked again.
const NEWEST: usize = 100;
const OTHERS: usize = 60;
const PAUSE: Duration = Duration::from_millis(50);

/// Asks everything again that is unknown since `from`, and a sample of the rest. Nobody else sends meanwhile.
pub async fn settle(load: &Load, from: Number, random: &mut StdRng, limit: Duration) {
    let count = load.journal.len();
    let since: Vec<Number> = (from..count).collect();
    let unknown =
        since.into_iter().filter(|number| matches!(load.journal.entry(*number).told, Told::Unknown(_)));
    let newest = count.saturating_sub(NEWEST)..count;
    let others: Vec<Number> = (0..OTHERS).map(|_| random.random_range(0..count.max(1))).collect();
    let mut numbers: Vec<Number> =
        unknown.chain(newest).chain(others).filter(|number| *number < count).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let deadline = Instant::now() + limit;
    futures::stream::iter(numbers)
        .for_each_concurrent(AT_ONCE, |number| ask_again(load, number, deadline))
        .await;
}

async fn ask_again(load: &Load, number: Number, deadline: Instant) {
    let entry = load.journal.entry(number);
    let was_unknown = matches!(entry.told, Told::Unknown(_));
    let first = if was_unknown {
        let Some(answer) = answered(load, number, deadline).await else { return };
        load.learn(number, answer.clone());
        answer
    } else {
        Answer { told: entry.told, replayed: false, hold: entry.hold }
    };
    let Some(again) = answered(load, number, deadline).await else { return };
    let same = again.agrees_with(&first) && again.replayed;
    load.findings.expect(same, Check::SameAnswer, || {
        format!("{} was told {first:?} and, asked again, {again:?}", entry.request.key)
    });
    // The hold was not visible when it was told first.
    if same && first.hold.is_none() && again.hold.is_some() {
        load.learn(number, again);
    }
}

/// The answer to a request, asked until there is one.
async fn answered(load: &Load, number: Number, deadline: Instant) -> Option<Answer> {
    let request = load.journal.entry(number).request;
    for server in number.. {
        let address = load.addresses.of(server);
        let answer =
            send(&load.client, address, std::slice::from_ref(&request), &load.findings).await.pop()?;
        let Told::Unknown(why) = &answer.told else { return Some(answer) };
        if Instant::now() > deadline {
            load.findings.note(Check::UnknownSettles, format!("{} gets no answer: {why}", request.key));
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}
