//! One connection to the mail server, from dialling to the last mail.

use std::{sync::Arc, time::Duration};

use bellbuoy_domain::{CauseCode, EmailAddress};
use lettre::{
    Address,
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::AsyncSmtpConnection,
        commands::{Data, Mail as MailFrom, Rcpt},
        extension::ClientId,
        response::Severity,
    },
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::warn;

use super::{
    Mail,
    fault::{Failure, Phase},
    wire::{self, Wire},
};
use crate::{
    AddressRules, Outbound, SetupError, Smtp, SmtpSecurity,
    http::{Dialer, tls_configuration},
};

/// Opens connections to the mail server.
pub(super) struct Dialler {
    settings: Smtp,
    dialer: Dialer,
    tls: Option<TlsConnector>,
    hello: ClientId,
    connect_timeout: Duration,
}

/// A connection over which mails can be sent.
pub(super) struct Session {
    connection: AsyncSmtpConnection,
    sender: Address,
}

impl Dialler {
    pub(super) fn new(outbound: &Outbound, settings: &Smtp) -> Result<Self, SetupError> {
        let rules = AddressRules::of_own_servers(&outbound.allow, &outbound.deny);
        let tls = match settings.security {
            SmtpSecurity::None => None,
            SmtpSecurity::Tls | SmtpSecurity::StartTls => {
                let configuration: ClientConfig = tls_configuration(outbound)?;
                Some(TlsConnector::from(Arc::new(configuration)))
            }
        };
        Ok(Self {
            dialer: Dialer::new(rules, &outbound.resolver, outbound.connect_timeout),
            tls,
            hello: settings.hello.clone().map_or_else(ClientId::default, ClientId::Domain),
            connect_timeout: outbound.connect_timeout,
            settings: settings.clone(),
        })
    }

    /// Connects, makes the connection safe and logs in.
    pub(super) async fn open(&self) -> Result<Session, Failure> {
        let Smtp { host, port, security, login, sender, .. } = &self.settings;
        let tcp = self.dialer.connect(host, *port).await?;
        let wire = match (&self.tls, security) {
            (Some(tls), SmtpSecurity::StartTls) => {
                let tcp = wire::ask_for_tls(tcp, &self.hello.to_string()).await?;
                Wire::after_starttls(self.handshake(tls, host, tcp).await?)
            }
            (Some(tls), _) => Wire::tls(self.handshake(tls, host, tcp).await?),
            (None, _) => Wire::plain(tcp),
        };
        let greeted = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &self.hello).await;
        let mut connection = greeted.map_err(|error| Failure::of(Phase::Greeting, &error))?;
        if let Some((user, password)) = login {
            let credentials = Credentials::new(user.clone(), password.clone());
            let answer = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            answer.map_err(|error| Failure::of(Phase::Login, &error))?;
        }
        let sender =
            address(sender).map_err(|_| Failure::greeting(CauseCode::Internal, "smtp.from is no address"))?;
        Ok(Session { connection, sender })
    }

    async fn handshake(
        &self,
        tls: &TlsConnector,
        host: &str,
        tcp: tokio::net::TcpStream,
    ) -> Result<wire::Tls, Failure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Failure::greeting(CauseCode::Internal, "smtp.host can't be the name of a certificate")
        })?;
        let shaken = timeout(self.connect_timeout, tls.connect(name, tcp)).await.map_err(|_| {
            let waited = self.connect_timeout;
            let detail = format!("no secure connection to the mail server within {waited:?}");
            Failure::greeting(CauseCode::Timeout, detail)
        })?;
        Ok(shaken?)
    }
}

impl Session {
    /// Sends one mail to whoever of its recipients the server takes. After a failure the connection is not used again, and
    /// nobody has got the mail unless the failure was in the mail itself.
    pub(super) async fn send(&mut self, mail: &Mail<'_>, bytes: &[u8]) -> Result<(), Failure> {
        let at = |phase| move |error| Failure::of(phase, &error);
        let sender = Some(self.sender.clone());
        self.connection.command(MailFrom::new(sender, Vec::new())).await.map_err(at(Phase::Sender))?;
        self.name_recipients(mail).await?;
        // The two answers that no other can be taken for: a server that once said a line too many is read one answer late.
        let go_on = self.connection.command(Data).await.map_err(at(Phase::Content))?;
        if !go_on.has_code(354) {
            return Err(Failure::out_of_turn(&go_on));
        }
        let taken = self.connection.message(bytes).await.map_err(at(Phase::Content))?;
        if taken.code().severity != Severity::PositiveCompletion {
            return Err(Failure::out_of_turn(&taken));
        }
        Ok(())
    }

    /// Fails as the first recipient does that it waits for; if none is taken, as one who may be taken later.
    async fn name_recipients(&mut self, mail: &Mail<'_>) -> Result<(), Failure> {
        let mut refusals = Vec::new();
        for to in mail.to {
            let to = address(to)
                .map_err(|_| Failure::greeting(CauseCode::Internal, "the address can't be used"))?;
            let Err(error) = self.connection.command(Rcpt::new(to, Vec::new())).await else { continue };
            let failure = Failure::of(Phase::Recipient, &error);
            if !failure.is_refusal() || (mail.waits_for_all && !failure.is_final) {
                return Err(failure);
            }
            refusals.push(failure);
        }
        let (refused, all) = (refusals.len(), mail.to.len());
        if refused == all {
            refusals.sort_by_key(|failure| failure.is_final);
            return refusals.into_iter().next().map_or(Ok(()), Err);
        }
        if refused > 0 {
            warn!(
                "the mail server refused {refused} of {all} recipients of mail {}; the others get it",
                mail.id
            );
        }
        Ok(())
    }
}

fn address(address: &EmailAddress) -> Result<Address, lettre::address::AddressError> {
    address.as_str().parse()
}
