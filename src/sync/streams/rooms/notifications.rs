//! The unread notification counts of a room.

use live::{NotificationCount, Thread, UnreadCounts};

use crate::{context::SyncContext, response::push_field};

/// Appends the counts of the room, or by thread if the filter asks for it.
pub(super) fn write(out: &mut String, context: &SyncContext<'_>, unread_counts: &UnreadCounts) {
    push_field(out, "unread_notifications");
    if !context.filter.unread_thread_notifications {
        let mut all = NotificationCount::default();
        for count in unread_counts.counts.values() {
            all.notifications += count.notifications;
            all.highlights += count.highlights;
        }
        push_count(out, all);
        return;
    }
    let main = unread_counts.counts.get(&Thread::Main).copied();
    push_count(out, main.unwrap_or_default());
    let threads = unread_counts
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

fn push_count(out: &mut String, count: NotificationCount) {
    out.push_str("{\"highlight_count\":");
    out.push_str(&count.highlights.to_string());
    out.push_str(",\"notification_count\":");
    out.push_str(&count.notifications.to_string());
    out.push('}');
}
