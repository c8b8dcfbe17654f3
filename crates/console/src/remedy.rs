//! What a cause means, and what whoever can do something about it does.

use bellbuoy_domain::CauseCode;

/// One sentence for the notification's owner.
pub(crate) fn remedy(cause: CauseCode) -> &'static str {
    match cause {
        CauseCode::Http3xx => {
            "The receiver answered with a redirect. Name the new URL, or switch on “Follow redirects”."
        }
        CauseCode::Http4xx => {
            "The receiver refused this request. Look in its log; perhaps it wants another format, header or path."
        }
        CauseCode::HttpRetryable => "The receiver could not take it at that moment.",
        CauseCode::HttpAuth => {
            "The receiver wants other credentials. Put them right in the notification; waiting deliveries use them too."
        }
        CauseCode::RateLimited => {
            "The receiver asked for less. Its deliveries go slower by themselves; a rate of your own keeps them so."
        }
        CauseCode::Gone => {
            "The receiver answered 410, so its notification was switched off. Name another URL and switch it on again."
        }
        CauseCode::ChannelGone => {
            "The channel, or its webhook, was deleted. Make a new one there, name it here and switch the notification on again."
        }
        CauseCode::Unwanted => {
            "The receiver asked to hear no more. Switch the notification on again when that has changed."
        }
        CauseCode::Aborted => "The receiver wants no more of this delivery alone.",
        CauseCode::Http5xx => "The receiver failed. Look in its log.",
        CauseCode::HttpOther => "The answer's status means nothing. Look at what answers at this URL.",
        CauseCode::Timeout => "The receiver took too long. Let it answer first and work afterwards.",
        CauseCode::Dns => {
            "The host's name has no address. Check the URL, and the name servers that Bellbuoy asks."
        }
        CauseCode::Connect => {
            "Nothing took the connection. Check that the receiver runs, and the firewall between."
        }
        CauseCode::Tls => {
            "TLS failed. Check the receiver's certificate; one of your own authority belongs into “Certificates to trust”."
        }
        CauseCode::Reset => {
            "The connection was cut. Look in the receiver's log, and in that of any proxy between."
        }
        CauseCode::Protocol => "What answers at this URL speaks no HTTP that can be read.",
        CauseCode::ResponseTooLarge => "The answer was too large. Let the receiver answer briefly.",
        CauseCode::Blocked => {
            "The operator's network rules forbid the address; `outbound.allow` would open it."
        }
        CauseCode::Template => "The template can't be applied to this event. Put it right.",
        CauseCode::SmtpDeferred => "The mail server asked to come back later.",
        CauseCode::SmtpRejected => "The mail server refused the address or the mail. Check the address.",
        CauseCode::ServiceClosed => {
            "The service is no more. Choose another method, or set the address of a server of your own."
        }
        CauseCode::NoRecipient => "Whom it would tell is no longer in the directory. Name somebody else.",
        CauseCode::ReceiverBusy => "The receiver has as many requests as it may have at once.",
        CauseCode::RetriesBusy => "Many deliveries are tried again at once.",
        CauseCode::CircuitOpen => {
            "The receiver stopped answering, so one attempt at a time finds out whether it is back."
        }
        CauseCode::Paused => "The notification is paused. Resume it.",
        CauseCode::OnProbation => {
            "The notification was switched off; one delivery finds out whether it works again, then the others follow."
        }
        CauseCode::Disabled => "The notification was switched off while this waited. Switch it on again.",
        CauseCode::Digested => "It is told together with others, in the delivery that is named here.",
        CauseCode::WorkerPanicked => "A fault of Bellbuoy's own, of which the log says more.",
        CauseCode::Internal => {
            "Bellbuoy's own store or settings failed. The log says more; it costs the receiver no attempt."
        }
    }
}
