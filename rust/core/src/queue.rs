//! Bounded hand-over of events to a consumer that must not miss any: what does not fit is counted, never ignored.

use std::collections::VecDeque;

use crate::event::{Event, EventKind};

/// Book levels the queue has room for, for each event it has room for.
const LEVELS_PER_EVENT: usize = 32;

/// A queue of few events has room for this many levels nevertheless.
const MIN_LEVELS: usize = 100_000;

/// First-in first-out queue of at most `capacity` events, and of a bounded number of book levels in them.
///
/// The levels are what takes memory. A single event always fits an empty queue, whatever it holds. Once an event did not fit, all later ones are dropped too, until the producer has repaired the gap: a consumer
/// never sees a stream with an invisible hole in it.
#[derive(Debug)]
pub struct EventQueue {
    events: VecDeque<Event>,
    capacity: usize,
    /// Book levels in `events`.
    levels: usize,
    dropped: u64,
    has_gap: bool,
}

/// Book levels an event holds.
fn levels_of(event: &Event) -> usize {
    match &event.kind {
        EventKind::BookChange { bids, asks, .. } => bids.len() + asks.len(),
        EventKind::BookSample(sample) => sample.bids.len() + sample.asks.len(),
        _ => 0,
    }
}

impl EventQueue {
    /// A queue for `capacity` events; 0 keeps none and drops none.
    pub fn new(capacity: usize) -> Self {
        Self { events: VecDeque::new(), capacity, levels: 0, dropped: 0, has_gap: false }
    }

    /// Whether anything is kept at all.
    pub fn is_enabled(&self) -> bool {
        self.capacity > 0
    }

    /// Takes `event`, or counts it as dropped.
    pub fn push(&mut self, event: Event) {
        if self.capacity == 0 {
            return;
        }
        let levels = levels_of(&event);
        if self.has_gap || self.events.len() >= self.capacity || !self.has_room_for(levels) {
            self.has_gap = true;
            self.dropped += 1;
        } else {
            self.levels += levels;
            self.events.push_back(event);
        }
    }

    fn has_room_for(&self, levels: usize) -> bool {
        let most = self.capacity.saturating_mul(LEVELS_PER_EVENT).max(MIN_LEVELS);
        self.levels.saturating_add(levels) <= most || self.events.is_empty()
    }

    /// Whether events were dropped, and nothing has told the consumer so yet.
    pub fn has_gap(&self) -> bool {
        self.has_gap
    }

    /// Whether there is a gap, and room again for `events` events with `levels` book levels that end it, and for one
    /// event after them.
    pub fn can_repair(&self, events: usize, levels: usize) -> bool {
        self.has_gap && self.events.len() + events < self.capacity && self.has_room_for(levels)
    }

    /// Ends the gap with the events that make the consumer whole again: a disconnect, then snapshots.
    pub fn repair(&mut self, events: impl IntoIterator<Item = Event>) {
        self.has_gap = false;
        for event in events {
            self.levels += levels_of(&event);
            self.events.push_back(event);
        }
    }

    /// Takes the oldest events, at most `max_events` of them; 0 takes all.
    pub fn drain(&mut self, max_events: usize) -> Vec<Event> {
        if max_events == 0 || max_events >= self.events.len() {
            self.levels = 0;
            return std::mem::take(&mut self.events).into();
        }
        let taken: Vec<Event> = self.events.drain(..max_events).collect();
        self.levels -= taken.iter().map(levels_of).sum::<usize>();
        taken
    }

    /// Events waiting.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Events that did not fit since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;
    use crate::types::Decimal;

    fn event(local_ts_ns: i64) -> Event {
        Event {
            exchange: "bybit".into(),
            symbol: "BTCUSDT".into(),
            exchange_ts_ns: 0,
            local_ts_ns,
            kind: EventKind::Disconnect,
        }
    }

    fn times(events: &[Event]) -> Vec<i64> {
        events.iter().map(|event| event.local_ts_ns).collect()
    }

    #[test]
    fn events_come_out_in_order_in_pieces_or_at_once() {
        let mut queue = EventQueue::new(10);
        (0..5).for_each(|i| queue.push(event(i)));
        assert_eq!(times(&queue.drain(2)), [0, 1]);
        assert_eq!(times(&queue.drain(0)), [2, 3, 4]);
        assert!(queue.is_empty() && queue.dropped() == 0);
    }

    #[test]
    fn after_the_first_drop_nothing_passes_until_the_gap_is_repaired() {
        let mut queue = EventQueue::new(3);
        (0..5).for_each(|i| queue.push(event(i)));
        assert_eq!(queue.dropped(), 2);
        assert!(!queue.can_repair(1, 0), "still full");
        assert_eq!(times(&queue.drain(0)), [0, 1, 2]);
        queue.push(event(5));
        assert!(queue.is_empty(), "a hole must not stay invisible");
        assert!(queue.can_repair(2, 0));
        queue.repair([event(6)]);
        queue.push(event(7));
        assert_eq!((times(&queue.drain(0)), queue.dropped()), (vec![6, 7], 3));
    }

    fn change(levels: usize) -> Event {
        let level = Level { price: Decimal::new(1, 0), qty: Decimal::new(1, 0) };
        let kind = EventKind::BookChange { is_snapshot: true, bids: vec![level; levels], asks: vec![] };
        Event { kind, ..event(0) }
    }

    #[test]
    fn levels_are_bounded_as_events_are_and_one_change_of_any_size_always_fits() {
        let mut queue = EventQueue::new(1_000_000);
        let most = 1_000_000 * LEVELS_PER_EVENT;
        queue.push(change(2 * most));
        queue.push(event(1));
        queue.push(change(1));
        assert_eq!((queue.len(), queue.dropped()), (1, 2), "nothing passes after what did not fit");
        assert!(!queue.can_repair(2, 1), "no room for the levels");
        assert_eq!(queue.drain(1).len(), 1);
        assert!(queue.can_repair(2, 3 * most), "an empty queue takes any book");
        queue.repair([event(1), change(most - 1)]);
        queue.push(change(1));
        assert_eq!(queue.drain(2).len(), 2);
        queue.push(change(most - 1));
        assert_eq!((queue.len(), queue.dropped()), (2, 2), "what was taken makes room");
    }

    #[test]
    fn a_short_queue_has_room_for_deep_snapshots() {
        let mut queue = EventQueue::new(10);
        (0..10).for_each(|_| queue.push(change(2_000)));
        assert_eq!((queue.len(), queue.dropped()), (10, 0));
    }

    #[test]
    fn a_queue_of_no_capacity_keeps_nothing_and_calls_nothing_lost() {
        let mut queue = EventQueue::new(0);
        queue.push(event(1));
        assert!(!queue.is_enabled() && queue.is_empty() && queue.dropped() == 0);
    }
}
