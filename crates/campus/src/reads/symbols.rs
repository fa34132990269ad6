//! What lines in the log of a server are about, by where they come from, and where its spans do.

/// The beginning of a line's target and the symbol of its subject; the first that fits counts.
pub const SYMBOLS: [(&str, &str); 10] = [
    ("campus::cache::hit", "✅"),
    ("campus::cache::miss", "❌"),
    ("campus::cache::set", "💾"),
    ("campus::cache::delete", "🗑️"),
    ("larder::invalidate", "🗑️"),
    ("larder::outbox", "🗑️"),
    ("larder::l2", "🔌"),
    ("larder::", "🔍"),
    ("campus::http", "📊"),
    ("campus::reads::warm", "📊"),
];

/// The target of the spans of reads and loads.
#[cfg(feature = "otel")]
pub const SPANS: &str = "larder::read";
