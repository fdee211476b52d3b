//! How late messages come, by the time of day.

use std::time::Duration;

use super::stats::FeedStats;
use crate::event::{Event, EventKind};
use crate::types::Ns;

/// Messages that are older by a day are no late ones but a recording being played.
const RECORDED_NS: Ns = 86_400_000_000_000;

/// Measures how late messages come and tells when they begin to come too late.
///
/// The machine sends a slow reader what is old first, and nothing else tells. Clocks may differ as well, so that no book
/// is judged by it.
#[derive(Debug, Default)]
pub(super) struct Lag {
    is_late: bool,
}

impl Lag {
    /// Takes the events of a turn that ended at `clock_ns`; the last one counts.
    pub(super) fn measure(&mut self, events: &[Event], allowed: Duration, clock_ns: Ns, stats: &mut FeedStats) {
        // A disconnect repeats the time of the message before it.
        let Some(event) = events.iter().rev().find(|event| event.kind != EventKind::Disconnect) else { return };
        let lag_ns = clock_ns.saturating_sub(event.local_ts_ns);
        stats.last_lag_ns = lag_ns;
        let is_late = lag_ns < RECORDED_NS && Ns::try_from(allowed.as_nanos()).is_ok_and(|allowed| lag_ns > allowed);
        if is_late && !self.is_late {
            stats.late_spells += 1;
            let seconds = lag_ns as f64 / 1e9;
            stats.last_error =
                format!("messages come {seconds:.1} s after their localTimestamp: old data, or clocks that differ");
        }
        self.is_late = is_late;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Ns = 1_000_000_000;

    #[test]
    fn a_spell_of_late_messages_is_told_once_and_a_clock_ahead_is_a_negative_lag() {
        let (mut lag, mut stats) = (Lag::default(), FeedStats::default());
        let mut seen = |lag_ns: Ns, is_disconnect: bool| {
            let mut event = Event::disconnect(&"x".into(), "S".into(), 1_000_000 * S);
            if !is_disconnect {
                event.kind = EventKind::BookChange { is_snapshot: false, bids: vec![], asks: vec![] };
            }
            lag.measure(&[event], Duration::from_secs(3), 1_000_000 * S + lag_ns, &mut stats);
            (stats.last_lag_ns, stats.late_spells)
        };
        assert_eq!(seen(-7_200 * S, false), (-7_200 * S, 0));
        assert_eq!(seen(2 * S, false), (2 * S, 0));
        assert_eq!(seen(60 * S, false), (60 * S, 1));
        assert_eq!(seen(61 * S, false), (61 * S, 1));
        assert_eq!(seen(99 * S, true), (61 * S, 1), "a disconnect has no time of its own");
        assert_eq!(seen(S, false), (S, 1));
        assert_eq!(seen(4 * S, false), (4 * S, 2));
        assert_eq!(seen(86_400 * S, false).1, 2, "a recording");
        assert_eq!(stats.last_error, "messages come 4.0 s after their localTimestamp: old data, or clocks that differ");
    }
}
