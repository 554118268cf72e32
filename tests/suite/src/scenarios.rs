//! The scenarios. Each plays in a world of its own and knows the product from outside only.

mod basics;
mod harness;

use crate::trials::Scenario;

/// Every scenario, in the order of reading: what the harness itself can do comes first.
pub const ALL: &[Scenario] = &[
    scenario("harness-network", harness::network),
    scenario("harness-programs", harness::programs),
    scenario("harness-capture", harness::capture),
    scenario("harness-certificates", harness::certificates),
    scenario("harness-server-first", harness::server_first),
    scenario("permissive-plain", basics::permissive_plain),
    scenario("permissive-mesh", basics::permissive_mesh),
    scenario("strict-plain", basics::strict_plain),
];

const fn scenario(
    name: &'static str,
    play: fn(&crate::stage::Stage<'_>) -> anyhow::Result<()>,
) -> Scenario {
    Scenario { name, play }
}
