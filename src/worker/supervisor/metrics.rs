//! What Prometheus learns about background tasks.

pub(super) fn restarted(task: &'static str) {
    metrics::counter!("chancery_worker_restarts_total", "task" => task).increment(1);
}

pub(super) fn running(task: &'static str, change: f64) {
    metrics::gauge!("chancery_worker_tasks", "task" => task).increment(change);
}
