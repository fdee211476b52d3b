//! What an alarm is about, how bad it is, and when it began and ended.

use std::fmt;

use crate::types::Ns;

/// What stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AlarmKind {
    /// The price jumped, or lies far off its recent level.
    Spike = 0,
    /// Little rests near the touch, or the spread is wide.
    Thin = 1,
    /// One side has far more than the other.
    OneSided = 2,
    /// Far more is traded than usual.
    VolumeBurst = 3,
    /// The book could not be trusted.
    FeedFault = 4,
}

impl AlarmKind {
    /// Every kind, in the order of their bits in [`super::Alarms::active`].
    pub const ALL: [Self; 5] = [Self::Spike, Self::Thin, Self::OneSided, Self::VolumeBurst, Self::FeedFault];

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Thin => "thin",
            Self::OneSided => "one_sided",
            Self::VolumeBurst => "volume_burst",
            Self::FeedFault => "feed_fault",
        }
    }

    /// Its bit in [`super::Alarms::active`].
    pub fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// How far beyond the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Up to half as much again.
    Notice,
    /// Up to three times.
    Warning,
    /// Beyond, or the book is lost.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// One run of alarms of a kind that were never further apart than the hold-off.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// What stood out.
    pub kind: AlarmKind,
    /// First alarm, local time.
    pub start_ns: Ns,
    /// Last alarm, local time.
    pub end_ns: Ns,
    /// The greatest score: standard deviations of a spike, times the usual of the others; 0 of a fault.
    pub score: f64,
    /// The threshold that score passed.
    pub threshold: f64,
    /// Mid at the first alarm, P; NaN of a fault.
    pub mid: f64,
    /// What was measured, in words.
    pub measure: Box<str>,
}

impl Episode {
    /// How bad it was at its worst.
    pub fn severity(&self) -> Severity {
        match self.kind {
            AlarmKind::FeedFault => Severity::Critical,
            _ if self.score > 3.0 * self.threshold => Severity::Critical,
            _ if self.score > 1.5 * self.threshold => Severity::Warning,
            _ => Severity::Notice,
        }
    }

    /// What happened, with the figures.
    pub fn reason(&self) -> String {
        match self.kind {
            AlarmKind::FeedFault => self.measure.to_string(),
            _ => format!("{} {:.1}, threshold {:.1}", self.measure, self.score, self.threshold),
        }
    }
}
