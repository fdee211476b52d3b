//! Where a feed's messages come from: a Tardis machine, or the exchange itself.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Who sends the messages of a feed, and with it their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// A Tardis machine: normalised messages of any exchange, which carry no sequence numbers.
    #[default]
    Tardis,
    /// Bybit's own public stream, v5.
    Bybit,
    /// Bitget's own public stream, v2.
    BitgetV2,
    /// Bitget's own public stream, v3.
    BitgetV3,
}

impl Source {
    /// Whether this is an exchange's own stream, whose messages show that one before them is missing.
    pub fn is_native(self) -> bool {
        self != Self::Tardis
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tardis => "tardis",
            Self::Bybit => "bybit",
            Self::BitgetV2 => "bitget-v2",
            Self::BitgetV3 => "bitget",
        })
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "tardis" => Ok(Self::Tardis),
            "bybit" => Ok(Self::Bybit),
            "bitget-v2" => Ok(Self::BitgetV2),
            "bitget" => Ok(Self::BitgetV3),
            _ => {
                let reason = format!("{name:?} is not one of tardis, bybit, bitget, bitget-v2");
                Err(Error::Domain { name: "source", reason })
            }
        }
    }
}
