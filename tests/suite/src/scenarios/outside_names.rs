//! Hosts outside of the mesh whose names lead somewhere now and then.

use anyhow::{Context, Result};
use sealane_harness::{Agent, NodeName, until};

use super::outside::Setting;
use crate::stage::{SOON, Stage};

/// What captures them outlives the agent: while the next one has not heard of the name nothing goes in clear.
pub fn restart(stage: &Stage<'_>) -> Result<()> {
    let host = stage.world.host_name();
    let mut setting = Setting::new(stage, host.as_str())?;
    let address = setting.outside.ip(stage.family);
    host.lead_to(address)?;
    setting.apply(&setting.mutual())?;
    setting.wait_ok()?;

    setting.shop.agents.a.kill()?;
    host.withdraw()?;
    let mut agent = Agent::start(stage.world, NodeName::A, &[])?;
    agent.wait_ready()?;
    setting.shop.agents.a = agent;
    let customer = &setting.shop.customer;
    setting.shop.agents.a.wait_enrolled(customer, true)?;
    let refused = setting.expect_refused("no_policy", 1.0);
    refused.context("an address of which nobody has been told")?;

    host.lead_to(address)?;
    setting.wait_ok()
}

/// Addresses follow names while documents are broken.
pub fn broken(stage: &Stage<'_>) -> Result<()> {
    let host = stage.world.host_name();
    let setting = Setting::new(stage, host.as_str())?;
    setting.apply(&setting.mutual())?;
    let objects = &stage.world.objects;
    objects.raw("broken.yaml", "kind: [")?;
    let agent = &setting.shop.agents.a;
    until("the error", SOON, || {
        let errors = agent.status()?["source"]["errors"].clone();
        let told = errors.as_array().is_some_and(|errors| !errors.is_empty());
        Ok(told.then_some(()))
    })?;
    host.lead_to(setting.outside.ip(stage.family))?;
    setting.wait_ok()
}
