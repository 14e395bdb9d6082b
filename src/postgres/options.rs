//! The parameters of the managed PostgreSQL: for one Chancery on the same machine, small to medium memory.

/// `name=value` settings, given on the command line so that an upgrade of Chancery can change them.
pub(crate) fn options(socket_directory: &str, fsync: bool) -> Vec<String> {
    let mut options = [
        "listen_addresses=",
        "port=5432",
        "unix_socket_permissions=0700",
        "max_connections=64",
        "shared_buffers=128MB",
        "effective_cache_size=1GB",
        "work_mem=8MB",
        "maintenance_work_mem=64MB",
        // Statements are short: compiling them costs more than it saves.
        "jit=off",
        "wal_compression=on",
        "max_wal_size=2GB",
        "checkpoint_timeout=15min",
        "random_page_cost=1.1",
        "autovacuum_vacuum_scale_factor=0.05",
        "autovacuum_analyze_scale_factor=0.05",
        "log_checkpoints=off",
        "logging_collector=off",
        "log_timezone=UTC",
        "timezone=UTC",
        "cluster_name=chancery",
    ]
    .map(str::to_owned)
    .to_vec();
    options.push(format!("unix_socket_directories={socket_directory}"));
    if !fsync {
        options.extend(
            [
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
            ]
            .map(str::to_owned),
        );
    }
    options
}
