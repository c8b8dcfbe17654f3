//! How a notification is changed while others may be changing it. Both REST surfaces end here.

use bellbuoy_domain::{Notification, NotificationState};
use jiff::SignedDuration;

use crate::{App, auth::Caller, now, problem::Problem};

/// How often a change is tried while others change the same notification.
const CHANGES: usize = 10;

/// Changes a notification that was `found` as `change` says of what it is; an inner `None` leaves it. A worker may
/// disable it, or another caller change it, at the same moment: then `change` is asked again, of what it is by then.
/// `None` when it is gone by then.
pub(crate) async fn change(
    app: &App,
    caller: &Caller,
    action: &str,
    found: Notification,
    mut change: impl FnMut(Notification) -> Result<Option<Notification>, Problem>,
) -> Result<Option<Notification>, Problem> {
    let mut old = found;
    for _ in 0..CHANGES {
        let Some(new) = change(old.clone())? else { return Ok(Some(old)) };
        // Two changes within a millisecond are two all the same.
        let tick = SignedDuration::from_millis(1);
        let updated_at = new.updated_at.max(old.updated_at.saturating_add(tick).unwrap_or(new.updated_at));
        let new = Notification { updated_at, ..new };
        if caller.audited(app, action, &new).replace_notification(&new, &old).await? {
            return Ok(Some(new));
        }
        let Some(by_then) = app.api.store.notification(old.id).await? else { return Ok(None) };
        old = by_then;
    }
    Err(Problem::unavailable("the notification is being changed by many at once; try again"))
}

/// A notification paused or active. One that is disabled stays so: its receiver has to be put right first, and
/// resetting it says that it was.
pub(crate) fn switched(old: Notification, state: NotificationState) -> Result<Option<Notification>, Problem> {
    if old.state == NotificationState::Disabled {
        let why = old.state_reason.as_deref().unwrap_or("its deliveries kept failing");
        return Err(Problem::conflict(format!("the notification is disabled ({why}); reset it instead")));
    }
    let state_reason = old.state_reason.clone().filter(|_| old.state != NotificationState::Probation);
    Ok((old.state != state).then(|| Notification { state, state_reason, updated_at: now(), ..old }))
}
