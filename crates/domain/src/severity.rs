//! How bad a vulnerability is, in Quay's words.

/// Quay's severities, worst first; their places are its `level` numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Critical,
    High,
    Medium,
    Low,
    Negligible,
    Unknown,
}

impl Severity {
    const ALL: [Self; 6] =
        [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Negligible, Self::Unknown];

    /// The severity with this `level` number.
    pub(crate) fn at(level: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(level).ok()?).copied()
    }

    /// Reads a severity in any case. Scanners pass vendors' words on unchanged, so those count as
    /// Clair counts them: `Important` is High, `Moderate` Medium, `Minor` Low, `Defcon1` Critical.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "critical" | "defcon1" => Some(Self::Critical),
            "high" | "important" => Some(Self::High),
            "medium" | "moderate" => Some(Self::Medium),
            "low" | "minor" => Some(Self::Low),
            "negligible" => Some(Self::Negligible),
            "unknown" => Some(Self::Unknown),
            _ => None,
        }
    }

    /// Quay's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Critical => "Critical",
            Self::High => "High",
            Self::Medium => "Medium",
            Self::Low => "Low",
            Self::Negligible => "Negligible",
            Self::Unknown => "Unknown",
        }
    }
}
