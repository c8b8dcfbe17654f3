//! What was found of what stands on RabbitMQ, and what could not be looked at.

/// What came of comparing what stands on RabbitMQ with its description.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What is missing or different, one sentence each with its remedy.
    pub problems: Vec<String>,
    /// What stands where nobody takes it: on shards beyond those described, or without a route. One sentence each
    /// with its remedy.
    pub left_behind: Vec<String>,
    /// How many exchanges and queues are described.
    pub described: usize,
    /// Of how many of them RabbitMQ did not say whether they are there: 4.3 and later tell who has some right on them.
    pub unseen: usize,
    /// Whether the arguments of what is there were compared, which only who may configure can have done.
    pub compared: bool,
}

impl Comparison {
    /// Whether nothing was found that would have to be mended.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty() && self.left_behind.is_empty()
    }

    /// What could not be looked at, and who can; `None` when everything was. Bindings never are: AMQP shows none, and
    /// what misses one is found as left behind.
    pub fn blind_spot(&self) -> Option<String> {
        let remedy = "run `bellbuoy topology check` with the user that declares them";
        if self.unseen > 0 {
            return Some(format!(
                "RabbitMQ does not tell this user whether {} of {} exchanges and queues are there, and messages for \
                 one that is missing would be set aside in `bellbuoy.unroutable`; {remedy}",
                self.unseen, self.described
            ));
        }
        (!self.compared).then(|| {
            format!("the arguments of exchanges and queues were not compared, because this user may not configure; {remedy}")
        })
    }
}
