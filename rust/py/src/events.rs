//! Batches of events and their trades for Python.

use mm_core::Error;
use mm_core::decode::{Decoder, Message};
use mm_core::encode::{encode, message_type};
use mm_core::event::{Event, EventKind};
use mm_core::types::{Decimal, Ns, Side};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::error::CoreError;
use crate::tickers::{BookSample, BookTicker, DerivativeTicker};

/// An immutable run of events in the order of their local time.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct EventBatch {
    events: Vec<Event>,
    /// The messages the events were read from; empty when they were not kept.
    texts: Vec<Option<Box<[u8]>>>,
}

impl From<Vec<Event>> for EventBatch {
    fn from(events: Vec<Event>) -> Self {
        Self { events, texts: Vec::new() }
    }
}

impl EventBatch {
    /// Events with the messages they were read from.
    pub fn with_texts(events: Vec<Event>, texts: Vec<Option<Box<[u8]>>>) -> Self {
        Self { events, texts }
    }

    /// The message an event was read from, if it was kept.
    pub fn text(&self, index: usize) -> Option<&[u8]> {
        self.texts.get(index)?.as_deref()
    }

    /// The events, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

#[pymethods]
impl EventBatch {
    /// Decodes Tardis messages; types the core does not use are passed over.
    #[staticmethod]
    #[expect(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn decode(py: Python<'_>, lines: Vec<PyBackedBytes>) -> Result<Self, CoreError> {
        py.detach(|| {
            let mut decoder = Decoder::new();
            let mut events = Vec::with_capacity(lines.len());
            for (index, line) in lines.iter().enumerate() {
                match decoder.decode(line) {
                    Ok(Message::Event(event)) => events.push(event),
                    Ok(message @ Message::PartialDisconnect { .. }) => events.extend(message.into_events()),
                    Ok(Message::Other { .. }) => {}
                    Err(malformed) => return Err(malformed.at(format!("message {index}"))),
                }
            }
            Ok::<_, Error>(Self::from(events))
        })
        .map_err(CoreError)
    }

    fn __len__(&self) -> usize {
        self.events.len()
    }

    /// `(local_ts_ns, exchange, symbol, type, message)` per event.
    fn encode<'py>(&self, py: Python<'py>) -> Vec<(Ns, &str, &str, &'static str, Bound<'py, PyBytes>)> {
        let mut buffer = Vec::new();
        let mut one = |event| {
            buffer.clear();
            encode(event, &mut buffer);
            PyBytes::new(py, &buffer)
        };
        self.events.iter().map(|e| (e.local_ts_ns, &*e.exchange, &*e.symbol, message_type(e), one(e))).collect()
    }

    /// Local time of the last event; 0 in an empty batch.
    #[getter]
    fn last_local_ts_ns(&self) -> Ns {
        self.events.last().map_or(0, |event| event.local_ts_ns)
    }

    /// The trades of the batch.
    fn trades(&self) -> Vec<Trade> {
        self.events.iter().filter_map(Trade::of).collect()
    }

    /// The forced prints of the batch.
    fn liquidations(&self) -> Vec<Trade> {
        self.events.iter().filter_map(Trade::of_liquidation).collect()
    }

    /// The exchange's own best bids and asks in the batch.
    fn book_tickers(&self) -> Vec<BookTicker> {
        self.events.iter().filter_map(BookTicker::of).collect()
    }

    /// The derivative tickers of the batch.
    fn derivative_tickers(&self) -> Vec<DerivativeTicker> {
        self.events.iter().filter_map(DerivativeTicker::of).collect()
    }

    /// The sampled books of the batch.
    fn book_samples(&self, py: Python<'_>) -> Vec<BookSample> {
        self.events.iter().filter_map(|event| BookSample::of(py, event)).collect()
    }

    fn __repr__(&self) -> String {
        format!("EventBatch({} events)", self.events.len())
    }
}

/// One print.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct Trade {
    exchange: String,
    symbol: String,
    id: Option<String>,
    price: f64,
    qty: f64,
    price_text: String,
    qty_text: String,
    side: Option<&'static str>,
    exchange_ts_ns: Ns,
    local_ts_ns: Ns,
}

impl Trade {
    fn of(event: &Event) -> Option<Self> {
        let EventKind::Trade { id, price, qty, side } = &event.kind else { return None };
        Some(Self::print(event, id.as_deref(), *price, *qty, *side))
    }

    fn of_liquidation(event: &Event) -> Option<Self> {
        let EventKind::Liquidation { id, price, qty, side } = &event.kind else { return None };
        Some(Self::print(event, id.as_deref(), *price, *qty, *side))
    }

    fn print(event: &Event, id: Option<&str>, price: Decimal, qty: Decimal, side: Option<Side>) -> Self {
        Self {
            exchange: event.exchange.to_string(),
            symbol: event.symbol.to_string(),
            id: id.map(ToOwned::to_owned),
            price: price.to_f64(),
            qty: qty.to_f64(),
            price_text: price.to_string(),
            qty_text: qty.to_string(),
            side: side.map(|side| if side == Side::Buy { "buy" } else { "sell" }),
            exchange_ts_ns: event.exchange_ts_ns,
            local_ts_ns: event.local_ts_ns,
        }
    }
}

#[pymethods]
impl Trade {
    fn __repr__(&self) -> String {
        let side = self.side.unwrap_or("unknown");
        format!("Trade({} {} {side} {} @ {})", self.exchange, self.symbol, self.qty_text, self.price_text)
    }
}
