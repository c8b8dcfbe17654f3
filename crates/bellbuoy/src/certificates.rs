//! The certificates of the settings, read again when their files change, so that they are replaced without a restart.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bellbuoy_methods::Methods;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{config::Config, open};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks at the files until `shutdown`; makes all that leaves go over connections of its own when one has changed.
/// What can't be used changes nothing, and is said once.
pub(crate) async fn follow(config: Config, methods: Arc<Methods>, shutdown: CancellationToken) {
    let paths: Vec<PathBuf> = [&config.client_certificate, &config.client_key, &config.extra_ca]
        .into_iter()
        .filter_map(Clone::clone)
        .collect();
    if paths.is_empty() {
        return;
    }
    let mut known = read(&paths).await;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        let found = read(&paths).await;
        if found == known {
            continue;
        }
        known = found;
        // A certificate without its key yet is refused here, and comes right with the next change.
        match open::outbound(&config).and_then(|settings| Ok(methods.renew(settings)?)) {
            Ok(()) => {
                info!("the certificates of `outbound` have changed; what is sent from now on uses them");
            }
            Err(problem) => {
                error!("the certificates of `outbound` have changed and can't be used: {problem:#}");
            }
        }
    }
}

/// Away from the runtime's own threads: a file of a network may take its time.
async fn read(paths: &[PathBuf]) -> Option<Vec<Option<Vec<u8>>>> {
    let paths = paths.to_vec();
    let reading =
        tokio::task::spawn_blocking(move || paths.iter().map(|path| std::fs::read(path).ok()).collect());
    reading.await.ok()
}
