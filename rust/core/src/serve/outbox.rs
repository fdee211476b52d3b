//! One request's messages, in order, as bytes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::sampler::{SampleSpec, Sampler};
use crate::encode::{encode, message_type};
use crate::event::{Event, EventKind};
use crate::types::Ns;

/// How messages are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One unmasked WebSocket text frame each (RFC 6455, section 5.2).
    WebSocket,
    /// One line each.
    Lines,
}

/// One element of a request's `options`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOption {
    /// Tardis exchange id.
    pub exchange: String,
    /// Symbols in upper case; `None` for all.
    pub symbols: Option<HashSet<String>>,
    /// Data types asked for.
    pub data_types: Vec<String>,
    /// Whether disconnects are passed on.
    pub with_disconnects: bool,
    /// Whether the machine's troubles are passed on.
    pub with_errors: bool,
    /// First local time wanted.
    pub from_ns: Ns,
    /// Local time at which the range ends, exclusive.
    pub to_ns: Ns,
}

/// An option and the state of what is computed for it. Each option has a source of its own, so options that overlap
/// give duplicates.
#[derive(Debug)]
struct Source {
    option: StreamOption,
    /// Types the source produces, wanted or as a means.
    produces: HashSet<&'static str>,
    specs: Vec<SampleSpec>,
    samplers: HashMap<Arc<str>, Vec<Sampler>>,
}

impl Source {
    fn new(option: StreamOption) -> Self {
        let asks = |name: &str| option.data_types.iter().any(|asked| asked == name);
        let asks_like = |prefix: &str| option.data_types.iter().any(|asked| asked.starts_with(prefix));
        let mut produces = HashSet::new();
        if asks("trade") || asks_like("trade_bar_") {
            produces.insert("trade");
        }
        if asks("book_change") || asks_like("book_snapshot_") || asks_like("quote") {
            produces.insert("book_change");
        }
        for name in ["derivative_ticker", "liquidation", "book_ticker"] {
            if asks(name) {
                produces.insert(name);
            }
        }
        let specs = option.data_types.iter().filter_map(|name| SampleSpec::parse(name)).collect();
        Self { option, produces, specs, samplers: HashMap::new() }
    }

    fn covers(&self, event: &Event) -> bool {
        let option = &self.option;
        option.exchange == *event.exchange
            && (option.from_ns..option.to_ns).contains(&event.local_ts_ns)
            && (event.symbol.is_empty() || option.symbols.as_ref().is_none_or(|all| all.contains(&*event.symbol)))
    }

    fn samples(&mut self, event: &Event) -> Vec<Event> {
        if self.specs.is_empty() || !matches!(event.kind, EventKind::BookChange { .. }) {
            return Vec::new();
        }
        let specs = &self.specs;
        let new = || specs.iter().cloned().map(Sampler::new).collect();
        let samplers = self.samplers.entry(Arc::clone(&event.symbol)).or_insert_with(new);
        samplers.iter_mut().flat_map(|sampler| sampler.take(event)).collect()
    }
}

/// Sorts out what one connection is sent.
#[derive(Debug)]
pub struct Outbox {
    sources: Vec<Source>,
    is_live: bool,
    /// Types that pass, for each exchange: the union over its options.
    wanted: HashMap<String, HashSet<String>>,
    messages: u64,
    scratch: Vec<u8>,
}

impl Outbox {
    /// The outbox of a request; live streams name the symbols of a disconnect, replays do not.
    pub fn new(options: Vec<StreamOption>, is_live: bool) -> Self {
        let mut wanted: HashMap<String, HashSet<String>> = HashMap::new();
        for option in &options {
            let types = wanted.entry(option.exchange.clone()).or_default();
            types.extend(option.data_types.iter().map(|name| emitted_type(name)));
        }
        Self {
            sources: options.into_iter().map(Source::new).collect(),
            is_live,
            wanted,
            messages: 0,
            scratch: Vec::new(),
        }
    }

    /// Messages sent so far.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Appends to `out` what is sent because of `event`. `text` is the message it was read from, if it is at hand.
    pub fn take(&mut self, event: &Event, text: Option<&[u8]>, framing: Framing, out: &mut Vec<u8>) {
        match event.kind {
            EventKind::Disconnect => return self.disconnect(event, framing, out),
            EventKind::UpstreamError(_) => return self.error(event, framing, out),
            _ => {}
        }
        let name = message_type(event);
        for index in 0..self.sources.len() {
            let source = &mut self.sources[index];
            if !source.covers(event) {
                continue;
            }
            // Files may hold sampled books, which no source computes: they pass by the name they were asked for.
            let is_produced = match &event.kind {
                EventKind::BookSample(sample) => source.option.data_types.iter().any(|asked| **asked == *sample.name),
                _ => source.produces.contains(name),
            };
            let samples = source.samples(event);
            let passes = self.wanted.get(&*event.exchange).is_some_and(|wanted| wanted.contains(name));
            if is_produced && passes {
                self.send(event, text, framing, out);
            }
            for sample in samples {
                self.send(&sample, None, framing, out);
            }
        }
    }

    /// Every option of the exchange has a connection of its own that broke.
    fn disconnect(&mut self, event: &Event, framing: Framing, out: &mut Vec<u8>) {
        let asked = self.sources.iter().any(|s| s.option.exchange == *event.exchange && s.option.with_disconnects);
        for index in 0..self.sources.len() {
            let source = &mut self.sources[index];
            if !source.covers(event) {
                continue;
            }
            if event.symbol.is_empty() {
                source.samplers.clear();
            } else {
                source.samplers.remove(&event.symbol);
            }
            if !asked {
                continue;
            }
            let mut message = Vec::new();
            encode(event, &mut message);
            if let Some(symbols) = source.option.symbols.as_ref().filter(|_| self.is_live && event.symbol.is_empty()) {
                let mut names: Vec<&String> = symbols.iter().collect();
                names.sort();
                message.pop();
                message.extend_from_slice(b",\"symbols\":");
                message.extend_from_slice(serde_json::to_string(&names).unwrap_or_default().as_bytes());
                message.push(b'}');
            }
            self.send(event, Some(&message), framing, out);
        }
    }

    fn error(&mut self, event: &Event, framing: Framing, out: &mut Vec<u8>) {
        let asked = |source: &&Source| source.covers(event) && source.option.with_errors;
        if self.is_live && self.sources.iter().any(|source| asked(&source)) {
            self.send(event, None, framing, out);
        }
    }

    fn send(&mut self, event: &Event, text: Option<&[u8]>, framing: Framing, out: &mut Vec<u8>) {
        self.messages += 1;
        let message = if let Some(text) = text {
            text
        } else {
            self.scratch.clear();
            encode(event, &mut self.scratch);
            &self.scratch
        };
        match framing {
            Framing::WebSocket => {
                frame_header(message.len(), out);
                out.extend_from_slice(message);
            }
            Framing::Lines => {
                out.extend_from_slice(message);
                out.push(b'\n');
            }
        }
    }
}

/// Type of the messages that a data type stands for.
fn emitted_type(data_type: &str) -> String {
    let is_sample = data_type.starts_with("book_snapshot_") || data_type.starts_with("quote");
    (if is_sample { "book_snapshot" } else { data_type }).to_owned()
}

/// Header of a final, unmasked text frame.
fn frame_header(length: usize, out: &mut Vec<u8>) {
    out.push(0x81);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Decoder;

    fn option(symbols: &[&str], data_types: &[&str]) -> StreamOption {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        StreamOption {
            exchange: "x".into(),
            symbols: Some(owned(symbols).into_iter().collect()),
            data_types: owned(data_types),
            with_disconnects: false,
            with_errors: false,
            from_ns: Ns::MIN,
            to_ns: Ns::MAX,
        }
    }

    fn sent(options: Vec<StreamOption>, messages: &[&str]) -> Vec<String> {
        let mut outbox = Outbox::new(options, true);
        let (mut out, mut decoder) = (Vec::new(), Decoder::new());
        for fields in messages {
            let text = format!(r#"{{{fields},"exchange":"x","localTimestamp":"2024-01-01T00:00:00.000000Z"}}"#);
            for event in decoder.decode(text.as_bytes()).expect(&text).into_events() {
                outbox.take(&event, Some(text.as_bytes()), Framing::Lines, &mut out);
            }
        }
        String::from_utf8(out).expect("utf-8").lines().map(ToOwned::to_owned).collect()
    }

    const TRADE: &str = r#""type":"trade","symbol":"S","price":1,"amount":2"#;
    const BOOK: &str =
        r#""type":"book_change","symbol":"S","isSnapshot":true,"bids":[{"price":1,"amount":2}],"asks":[]"#;

    #[test]
    fn an_option_gives_its_own_types_and_overlapping_options_give_duplicates() {
        let both = || option(&["S"], &["trade", "book_change"]);
        assert_eq!(sent(vec![both()], &[BOOK, TRADE]).len(), 2);
        assert_eq!(sent(vec![both(), option(&["S"], &["trade"])], &[BOOK, TRADE]).len(), 3);
        assert_eq!(sent(vec![option(&["T"], &["trade"])], &[BOOK, TRADE]).len(), 0);
    }

    #[test]
    fn the_changes_behind_a_sampled_book_pass_once_another_option_asks_for_changes() {
        let quotes = || option(&["S"], &["quote"]);
        let types =
            |options| -> Vec<bool> { sent(options, &[BOOK]).iter().map(|m| m.contains("book_change")).collect() };
        assert_eq!(types(vec![quotes()]), [false]);
        assert_eq!(types(vec![quotes(), option(&["S"], &["book_change"])]), [true, false, true]);
    }

    #[test]
    fn a_disconnect_goes_to_those_who_asked_and_names_their_symbols() {
        let gone = [r#""type":"disconnect""#];
        let asking = |with_disconnects| StreamOption { with_disconnects, ..option(&["S", "R"], &["trade"]) };
        assert_eq!(sent(vec![asking(false)], &gone).len(), 0);
        let [message] = &sent(vec![asking(true)], &gone)[..] else { panic!() };
        assert!(message.contains(r#""symbols":["R","S"]"#), "{message}");
    }

    #[test]
    fn a_frame_says_how_long_it_is() {
        let header = |length| {
            let mut out = Vec::new();
            frame_header(length, &mut out);
            out
        };
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(70_000), [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }
}
