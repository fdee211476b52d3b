//! Bounded hand-over of events to a consumer that must not miss any: what does not fit is counted, never ignored.

use std::collections::VecDeque;

use crate::event::Event;

/// First-in first-out queue of at most `capacity` events.
///
/// Once an event did not fit, all later ones are dropped too, until the producer has repaired the gap: a consumer
/// never sees a stream with an invisible hole in it.
#[derive(Debug)]
pub struct EventQueue {
    events: VecDeque<Event>,
    capacity: usize,
    dropped: u64,
    has_gap: bool,
}

impl EventQueue {
    /// A queue for `capacity` events; 0 keeps none and drops none.
    pub fn new(capacity: usize) -> Self {
        Self { events: VecDeque::new(), capacity, dropped: 0, has_gap: false }
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
        if self.has_gap || self.events.len() >= self.capacity {
            self.has_gap = true;
            self.dropped += 1;
        } else {
            self.events.push_back(event);
        }
    }

    /// Whether events were dropped, and there is room again for `events` events that tell the consumer so.
    pub fn can_repair(&self, events: usize) -> bool {
        self.has_gap && self.events.len() + events < self.capacity
    }

    /// Ends the gap with the events that make the consumer whole again: a disconnect, then snapshots.
    pub fn repair(&mut self, events: impl IntoIterator<Item = Event>) {
        self.has_gap = false;
        for event in events {
            self.push(event);
        }
    }

    /// Takes the oldest events, at most `max_events` of them; 0 takes all.
    pub fn drain(&mut self, max_events: usize) -> Vec<Event> {
        if max_events == 0 || max_events >= self.events.len() {
            return std::mem::take(&mut self.events).into();
        }
        self.events.drain(..max_events).collect()
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
    use crate::event::EventKind;

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
        assert!(!queue.can_repair(1), "still full");
        assert_eq!(times(&queue.drain(0)), [0, 1, 2]);
        queue.push(event(5));
        assert!(queue.is_empty(), "a hole must not stay invisible");
        assert!(queue.can_repair(2));
        queue.repair([event(6)]);
        queue.push(event(7));
        assert_eq!((times(&queue.drain(0)), queue.dropped()), (vec![6, 7], 3));
    }

    #[test]
    fn a_queue_of_no_capacity_keeps_nothing_and_calls_nothing_lost() {
        let mut queue = EventQueue::new(0);
        queue.push(event(1));
        assert!(!queue.is_enabled() && queue.is_empty() && queue.dropped() == 0);
    }
}
