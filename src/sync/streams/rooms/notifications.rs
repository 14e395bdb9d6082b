//! How many notifications of a room are unread.

use live::{Count, Tally, Thread};

use crate::{answer::push_field, v3::Ask};

/// Appends the counts: of the whole room, or of each thread where the client asks for it.
pub(super) fn write(out: &mut String, ask: &Ask<'_>, tally: &Tally) {
    push_field(out, "unread_notifications");
    if !ask.filter.unread_thread_notifications {
        let mut all = Count::default();
        for count in tally.counts.values() {
            all.notifications += count.notifications;
            all.highlights += count.highlights;
        }
        push_count(out, all);
        return;
    }
    let main = tally.counts.get(&Thread::Main).copied();
    push_count(out, main.unwrap_or_default());
    let threads = tally
        .counts
        .iter()
        .filter_map(|(thread, count)| match thread {
            Thread::Main => None,
            Thread::Of(root) => Some((root, count)),
        });
    let mut threads = threads.peekable();
    if threads.peek().is_some() {
        push_field(out, "unread_thread_notifications");
        out.push('{');
        for (root, count) in threads {
            push_field(out, root.as_str());
            push_count(out, *count);
        }
        out.push('}');
    }
}

fn push_count(out: &mut String, count: Count) {
    out.push_str("{\"highlight_count\":");
    out.push_str(&count.highlights.to_string());
    out.push_str(",\"notification_count\":");
    out.push_str(&count.notifications.to_string());
    out.push('}');
}
