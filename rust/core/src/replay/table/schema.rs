//! Columns and footer of a table.

use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::types::Ns;

/// Key of the summary in the footer.
pub(super) const SUMMARY_KEY: &str = "mm_hybrid";

/// Key of the summary's own checksum.
pub(super) const SUMMARY_CRC_KEY: &str = "mm_hybrid_crc32";

/// Version of this layout.
pub(super) const VERSION: u32 = 1;

/// What a row is, by its code in column `kind`. `message` rows hold a whole normalised JSON message in `text`.
pub(super) const KINDS: [&str; 5] = ["book", "trade", "liquidation", "disconnect", "message"];
pub(super) const BOOK: u8 = 0;
pub(super) const TRADE: u8 = 1;
pub(super) const LIQUIDATION: u8 = 2;
pub(super) const DISCONNECT: u8 = 3;
pub(super) const MESSAGE: u8 = 4;

/// Side of a level or taker side of a print, by its code in column `side`.
pub(super) const SIDES: [&str; 5] = ["bid", "ask", "buy", "sell", "none"];
pub(super) const BID: u8 = 0;
pub(super) const ASK: u8 = 1;
pub(super) const BUY: u8 = 2;
pub(super) const SELL: u8 = 3;
pub(super) const NONE: u8 = 4;

/// Position of each column.
pub(super) const LOCAL_TS: usize = 0;
pub(super) const EXCHANGE_TS: usize = 1;
pub(super) const KIND: usize = 2;
pub(super) const SIDE: usize = 3;
pub(super) const IS_SNAPSHOT: usize = 4;
pub(super) const IS_FIRST: usize = 5;
pub(super) const PRICE: usize = 6;
pub(super) const QTY: usize = 7;
pub(super) const TEXT: usize = 8;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = || DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let name = || DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Utf8));
    let column = |name, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        column("local_ts", time()),
        column("exchange_ts", time()),
        column("kind", name()),
        column("side", name()),
        column("is_snapshot", DataType::Boolean),
        column("is_first", DataType::Boolean),
        column("price", DataType::Float64),
        column("qty", DataType::Float64),
        Field::new("text", DataType::Utf8, true),
    ]))
});

pub(super) fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// The names of a dictionary column, the same in every table.
pub(super) fn names(names: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(names.to_vec()))
}

/// What the footer says about a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) version: u32,
    pub(super) exchange: String,
    pub(super) symbol: String,
    /// Most digits after the point of a price.
    pub(super) price_decimals: u8,
    /// Most digits after the point of a quantity.
    pub(super) qty_decimals: u8,
    /// The record batches, in order.
    pub(super) blocks: Vec<BlockSummary>,
}

/// One record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlockSummary {
    /// CRC-32 (IEEE 802.3) of its bytes in the file, metadata and body.
    pub(super) crc32: u32,
    pub(super) rows: u64,
    pub(super) first_local_ts_ns: Ns,
    pub(super) last_local_ts_ns: Ns,
}
