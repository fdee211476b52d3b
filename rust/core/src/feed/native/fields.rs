//! Values as both exchanges write them: numbers and times as text, levels in pairs, tickers by field.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::Malformed;
use crate::event::{DerivativeTicker, Level};
use crate::types::{Decimal, Ns, Side};

const NS_PER_MS: i64 = 1_000_000;

/// Price and quantity of a level.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// What a part of a message holds.
pub(super) fn read<'a, T: Deserialize<'a>>(data: &'a RawValue) -> Result<T, Malformed> {
    serde_json::from_str(data.get()).map_err(|error| Malformed(error.to_string()))
}

/// Milliseconds since the epoch, as nanoseconds.
pub(super) fn ms(ms: i64) -> Result<Ns, Malformed> {
    ms.checked_mul(NS_PER_MS).ok_or_else(|| Malformed(format!("{ms} is no time in milliseconds")))
}

/// A number of milliseconds written as text.
pub(super) fn ms_text(field: &str, text: &str) -> Result<Ns, Malformed> {
    let parsed = text.parse().map_err(|_| Malformed(format!("`{field}` is no time in milliseconds: {text:?}")))?;
    ms(parsed)
}

/// A price or quantity, every digit of which counts.
pub(super) fn decimal(field: &str, text: &str) -> Result<Decimal, Malformed> {
    Decimal::parse(text.as_bytes())
        .filter(|number| number.mantissa >= 0)
        .ok_or_else(|| Malformed(format!("`{field}` is no positive number of at most 18 digits: {text:?}")))
}

/// One level of a book.
pub(super) fn level((price, qty): &Pair<'_>) -> Result<Level, Malformed> {
    Ok(Level { price: decimal("price", price)?, qty: decimal("size", qty)? })
}

/// The side of a trade; `None` when the exchange does not say.
pub(super) fn side(text: &str) -> Option<Side> {
    match text {
        "Buy" | "buy" => Some(Side::Buy),
        "Sell" | "sell" => Some(Side::Sell),
        _ => None,
    }
}

/// The fields of a ticker that are in use, by the names either exchange gives them; what is absent did not change.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TickerFields<'a> {
    #[serde(borrow, alias = "lastPr")]
    last_price: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "holdingAmount")]
    open_interest: Option<Cow<'a, str>>,
    #[serde(borrow)]
    funding_rate: Option<Cow<'a, str>>,
    #[serde(borrow)]
    next_funding_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    index_price: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mark_price: Option<Cow<'a, str>>,
    /// When it was so, where the ticker itself says.
    #[serde(borrow)]
    pub(super) ts: Option<&'a RawValue>,
}

impl TickerFields<'_> {
    /// Takes what the fields say into a ticker.
    pub(super) fn merge_into(&self, ticker: &mut DerivativeTicker) -> Result<(), Malformed> {
        let fields = [
            ("lastPrice", &self.last_price, &mut ticker.last_price),
            ("openInterest", &self.open_interest, &mut ticker.open_interest),
            ("fundingRate", &self.funding_rate, &mut ticker.funding_rate),
            ("indexPrice", &self.index_price, &mut ticker.index_price),
            ("markPrice", &self.mark_price, &mut ticker.mark_price),
        ];
        for (name, text, place) in fields {
            if let Some(text) = said(text.as_ref()) {
                let number = Decimal::parse_rounded(text.as_bytes());
                *place =
                    Some(number.ok_or_else(|| Malformed(format!("`{name}` is no number below 9.2e18: {text:?}")))?);
            }
        }
        if let Some(text) = said(self.next_funding_time.as_ref()) {
            ticker.funding_ts_ns = Some(ms_text("nextFundingTime", text)?);
        }
        Ok(())
    }
}

/// A text that is there and not empty.
fn said<'a>(text: Option<&'a Cow<'_, str>>) -> Option<&'a str> {
    text.map(AsRef::as_ref).filter(|text| !text.is_empty())
}
