//! Sampled books: `book_snapshot_{depth}_{interval}` and `quote`, as a tardis-machine computes them.

use std::sync::Arc;

use crate::book::{L2Book, Ladder};
use crate::event::{BookSample, Event, EventKind, Level};
use crate::types::Ns;

const NS_PER_MS: i64 = 1_000_000;

/// What to sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SampleSpec {
    name: String,
    depth: u32,
    interval_ms: u64,
}

impl SampleSpec {
    /// The sample a data type stands for; `None` for other types. Grouped samples are not computed.
    pub(super) fn parse(data_type: &str) -> Option<Self> {
        let (depth, interval) = match data_type.strip_prefix("book_snapshot_") {
            Some(rest) => {
                let (depth, interval) = rest.split_once('_')?;
                (depth.parse().ok()?, interval)
            }
            None if data_type == "quote" => (1, "0ms"),
            None => (1, data_type.strip_prefix("quote_")?),
        };
        let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
        let in_unit = |(unit, factor)| interval.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(factor);
        let interval_ms = units.into_iter().find_map(in_unit)?;
        Some(Self { name: data_type.to_owned(), depth, interval_ms })
    }
}

/// The sampled book of one symbol. Intervals are of exchange time; a sample is sent with the first change after its
/// interval, and shows the book before that change.
#[derive(Debug)]
pub(super) struct Sampler {
    spec: SampleSpec,
    book: L2Book,
    /// The best levels as they were sent last, and as they are.
    sent: [Vec<Level>; 2],
    changed_at_ns: Ns,
    is_started: bool,
}

impl Sampler {
    pub(super) fn new(spec: SampleSpec) -> Self {
        Self { spec, book: L2Book::new(), sent: [Vec::new(), Vec::new()], changed_at_ns: 0, is_started: false }
    }

    /// Takes a book change; returns the samples that are due with it.
    pub(super) fn take(&mut self, event: &Event) -> Vec<Event> {
        let EventKind::BookChange { is_snapshot, bids, asks } = &event.kind else { return Vec::new() };
        let mut due = Vec::new();
        let interval_ns = self.spec.interval_ms as i64 * NS_PER_MS;
        let bucket = |ns: Ns| ns.div_euclid(interval_ns.max(1));
        let bucket_is_over = interval_ns > 0 && bucket(event.exchange_ts_ns) > bucket(self.changed_at_ns);
        if self.is_started && bucket_is_over {
            let end_ns = (bucket(self.changed_at_ns) + 1) * interval_ns;
            due.extend(self.sample(event, end_ns));
        }
        if !self.book.apply(*is_snapshot, bids, asks) {
            return due;
        }
        self.changed_at_ns = event.exchange_ts_ns;
        if interval_ns == 0 || !self.is_started {
            due.extend(self.sample(event, event.exchange_ts_ns));
            self.is_started = true;
        }
        due
    }

    /// The best levels, unless they are those sent last.
    fn sample(&mut self, event: &Event, exchange_ts_ns: Ns) -> Option<Event> {
        let best = |side: &Ladder| -> Vec<Level> {
            let level = |(price, qty)| Level { price: self.book.price(price).normalized(), qty };
            side.iter().take(self.spec.depth as usize).map(level).collect()
        };
        let best = [best(self.book.bids()), best(self.book.asks())];
        if self.is_started && best == self.sent {
            return None;
        }
        self.sent.clone_from(&best);
        let [bids, asks] = best;
        let sample = BookSample {
            name: self.spec.name.as_str().into(),
            depth: self.spec.depth,
            interval_ms: self.spec.interval_ms,
            grouping: None,
            bids,
            asks,
        };
        Some(Event {
            exchange: Arc::clone(&event.exchange),
            symbol: Arc::clone(&event.symbol),
            exchange_ts_ns,
            local_ts_ns: event.local_ts_ns,
            kind: EventKind::BookSample(Box::new(sample)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Decimal;

    fn change(ms: i64, is_snapshot: bool, bids: &[(i64, i64)]) -> Event {
        let level = |(price, qty): &(i64, i64)| Level { price: Decimal::new(*price, 0), qty: Decimal::new(*qty, 0) };
        let kind = EventKind::BookChange { is_snapshot, bids: bids.iter().map(level).collect(), asks: vec![] };
        let ns = ms * NS_PER_MS;
        Event { exchange: "x".into(), symbol: "S".into(), exchange_ts_ns: ns, local_ts_ns: ns + 1, kind }
    }

    fn run(name: &str, changes: &[Event]) -> Vec<(i64, i64, Vec<i64>)> {
        let mut sampler = Sampler::new(SampleSpec::parse(name).unwrap());
        let mut seen = Vec::new();
        for event in changes.iter().flat_map(|change| sampler.take(change)) {
            let EventKind::BookSample(sample) = event.kind else { panic!() };
            let bids = sample.bids.iter().map(|level| level.price.mantissa).collect();
            seen.push((event.exchange_ts_ns / NS_PER_MS, (event.local_ts_ns - 1) / NS_PER_MS, bids));
        }
        seen
    }

    #[test]
    fn names_say_depth_and_interval() {
        let parsed = |name| SampleSpec::parse(name).map(|spec| (spec.depth, spec.interval_ms));
        assert_eq!(parsed("quote"), Some((1, 0)));
        assert_eq!(parsed("quote_10s"), Some((1, 10_000)));
        assert_eq!(parsed("book_snapshot_25_100ms"), Some((25, 100)));
        assert_eq!(parsed("book_snapshot_5_grouped10_1m"), None);
        assert_eq!(parsed("book_change"), None);
    }

    #[test]
    fn a_sample_shows_the_book_before_the_change_that_follows_its_interval() {
        let changes = [
            change(5, false, &[(1, 1)]),
            change(13, true, &[(10, 1)]),
            change(17, false, &[(11, 1)]),
            change(31, false, &[(12, 1)]),
            change(32, false, &[(13, 1)]),
        ];
        // At once and unaligned; then at the end of the interval 10..20, with the arrival of the change after it.
        assert_eq!(run("book_snapshot_1_10ms", &changes), [(13, 13, vec![10]), (20, 31, vec![11])]);
    }

    #[test]
    fn without_an_interval_every_change_of_the_best_levels_is_a_sample() {
        let changes = [change(1, true, &[(10, 1), (9, 1)]), change(2, false, &[(8, 1)]), change(3, false, &[(11, 1)])];
        assert_eq!(run("quote", &changes), [(1, 1, vec![10]), (3, 3, vec![11])]);
    }
}
