//! The input of the kernels: messages of one symbol as a tardis-machine writes them, the same on every run and machine.
//!
//! It depends on nothing of the core, so that a change there never changes what is measured.

use std::fmt::Write as _;

/// Levels of each side in the first message, a snapshot.
const LEVELS: u64 = 500;
const START_TICKS: u64 = 600_000;

/// `SplitMix64`. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Ticks from the mid: most changes are near it.
    fn distance(&mut self) -> u64 {
        let reach = 1 << self.below(9);
        1 + self.below(reach)
    }

    /// A quantity in thousandths; zero, which removes the level, one time in five.
    fn quantity(&mut self) -> u64 {
        if self.below(5) == 0 { 0 } else { 1 + self.below(20_000) }
    }
}

/// Returns one snapshot followed by changes of 1 to 12 levels, one message in six a trade.
pub fn messages(count: usize) -> Vec<Vec<u8>> {
    let mut draw = Draw(42);
    let mut mid = START_TICKS;
    (0..count)
        .map(|index| {
            let text = if index == 0 {
                let side =
                    |sign: i64| (1..=LEVELS).map(move |d| (mid.saturating_add_signed(sign * d as i64), 1000 + d));
                book_change(index, true, &side(-1).collect::<Vec<_>>(), &side(1).collect::<Vec<_>>())
            } else if draw.below(6) == 0 {
                trade(index, mid, &mut draw)
            } else {
                change(index, &mut mid, &mut draw)
            };
            text.into_bytes()
        })
        .collect()
}

fn change(index: usize, mid: &mut u64, draw: &mut Draw) -> String {
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    // A move of the mid takes the level it lands on away from the side it came from.
    match draw.below(8) {
        0 => {
            *mid += 1;
            asks.push((*mid, 0));
        }
        1 => {
            *mid -= 1;
            bids.push((*mid, 0));
        }
        _ => {}
    }
    for _ in 0..=draw.below(12) {
        let level = (draw.distance(), draw.quantity());
        if draw.below(2) == 0 { bids.push((*mid - level.0, level.1)) } else { asks.push((*mid + level.0, level.1)) }
    }
    book_change(index, false, &bids, &asks)
}

fn book_change(index: usize, is_snapshot: bool, bids: &[(u64, u64)], asks: &[(u64, u64)]) -> String {
    let mut text = format!(
        r#"{{"type":"book_change","symbol":"BTCUSDT","exchange":"binance-futures","isSnapshot":{is_snapshot},"bids":["#
    );
    levels(&mut text, bids);
    text.push_str(r#"],"asks":["#);
    levels(&mut text, asks);
    text.push(']');
    times(&mut text, index);
    text
}

fn trade(index: usize, mid: u64, draw: &mut Draw) -> String {
    let (price, side) = if draw.below(2) == 0 { (mid + 1, "buy") } else { (mid - 1, "sell") };
    let mut text = format!(
        r#"{{"type":"trade","symbol":"BTCUSDT","exchange":"binance-futures","id":"{}","price":{}.{},"amount":{},"side":"{side}""#,
        5_300_000_000 + index as u64,
        price / 10,
        price % 10,
        (1 + draw.below(2000)) as f64 / 1000.0,
    );
    times(&mut text, index);
    text
}

fn levels(text: &mut String, levels: &[(u64, u64)]) {
    for (i, &(ticks, qty)) in levels.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, r#"{comma}{{"price":{}.{},"amount":{}}}"#, ticks / 10, ticks % 10, qty as f64 / 1000.0);
    }
}

fn times(text: &mut String, index: usize) {
    let (seconds, millis) = (index / 40, index % 40 * 25);
    let clock = format!("2024-08-08T{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(text, r#","timestamp":"{clock}Z","localTimestamp":"{clock}417Z"}}"#);
}
