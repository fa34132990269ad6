//! What lines in the log of a server are about, by where they come from.

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
