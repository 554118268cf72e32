//! The scenarios. Each plays in a world of its own and knows the product from outside only.

mod attest;
mod authority;
mod authorization;
mod basics;
mod candidates;
mod certificates;
mod crafted;
mod dissected;
mod envoy;
mod faults;
mod gateways;
mod harness;
mod input;
mod kubernetes;
mod life;
mod load;
mod metrics;
mod offload;
mod operator;
mod outside;
mod outside_names;
mod paths;
mod peers;
mod policy;
mod probes;
mod protocols;
mod recorded;
mod records;
mod restarts;
mod review;
mod rotation;
mod services;
mod spire;
mod streams;
mod third_root;
mod toggles;
mod trust;
mod wire;

use crate::trials::{Needs, Scenario};

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
    scenario("strict-tls-no-cert", certificates::strict_tls_no_cert),
    scenario("strict-tls-cert", certificates::strict_tls_cert),
    scenario("strict-tls-bad-cert", certificates::strict_tls_bad_cert),
    scenario("s-client-showcerts", certificates::s_client_showcerts),
    scenario("cert-rotation", certificates::cert_rotation),
    scenario("ca-service", authority::service),
    scenario("ca-refuses", authority::refuses),
    scenario("ca-lost", authority::lost),
    scenario("ca-rotation", rotation::under_load),
    scenario("ca-rotation-intermediate", rotation::intermediate),
    scenario("ca-renewal", rotation::renewal),
    scenario("kubernetes-mesh", kubernetes::mesh),
    scenario("kubernetes-away", kubernetes::away),
    scenario("kubernetes-start", kubernetes::start),
    scenario("kubernetes-churn", kubernetes::churn),
    scenario("kubernetes-unknown", kubernetes::unknown),
    scenario("kubernetes-authority", kubernetes::authority),
    scenario("kubernetes-keep", kubernetes::keep),
    scenario("probes-kubelet", probes::kubelet),
    scenario("probes-changes", probes::changes),
    scenario("probes-named", probes::named),
    scenario("kubernetes-bad-document", kubernetes::bad_document),
    scenario("kubernetes-not-found", kubernetes::not_found),
    scenario("kubernetes-unguarded", kubernetes::unguarded),
    scenario("kubernetes-taint", kubernetes::startup_taint),
    scenario("strict-toggle", policy::strict_toggle),
    scenario("thousand-toggles", toggles::thousand),
    scenario("toggle-restart", restarts::restart),
    scenario("port-level", policy::port_level),
    scenario("mesh-switch", policy::mesh_switch),
    scenario("unseen-plaintext", policy::unseen),
    scenario("dr-disable-conflict", review::destination_rule_conflict),
    scenario("policy-checks", review::checks),
    scenario("policy-diff", candidates::diff),
    scenario("legacy-policy", review::legacy_policy),
    scenario("authz-allow", authorization::allow),
    scenario("authz-deny", authorization::deny),
    scenario("authz-agent-killed", life::agent_killed_authorized),
    scenario("policy-before-pod", life::policy_before_pod),
    scenario("server-first", protocols::server_first),
    scenario("wordpress", protocols::wordpress),
    scenario("redis", protocols::redis),
    scenario("websockets", protocols::websockets),
    scenario("keep-alive", protocols::keep_alive),
    scenario("short-connections", protocols::short_connections),
    scenario("tls-application", protocols::tls_application),
    scenario("capture-ciphertext", wire::capture_ciphertext),
    scenario("attest-mutual", attest::mutual),
    scenario("attest-plain", attest::plain),
    scenario("attest-bytewise", attest::bytewise),
    scenario("attest-before", attest::before),
    scenario("attest-restart", attest::restart),
    scenario("attest-crafted", crafted::frames),
    scenario("attest-strict", crafted::strict),
    scenario("attest-tshark", dissected::hundred),
    scenario("packets-wire", recorded::on_the_wire),
    scenario("packets-plaintext", recorded::in_clear),
    scenario("packets-lines", recorded::in_lines),
    scenario("port-scan", wire::port_scan),
    scenario("client-address", wire::client_address),
    scenario("bound-to-device", wire::bound_to_device),
    scenario("same-node", paths::same_node),
    scenario("mapped-client", paths::mapped_client),
    scenario("bound-client", paths::bound_client),
    scenario("untouched", paths::untouched),
    scenario("client-hello", paths::client_hello),
    scenario("outside-mutual", outside::mutual),
    scenario("outside-simple", outside::simple),
    scenario("outside-revoked", outside::revoked),
    scenario("outside-restart", outside_names::restart),
    scenario("outside-broken", outside_names::broken),
    scenario("third-root-cross-mesh", third_root::cross_mesh),
    scenario("gateway-redirect", gateways::redirect),
    scenario("gateway-sni", gateways::sni),
    scenario("gateway-reload", gateways::reload),
    scenario("gateway-hosts", gateways::hosts),
    scenario("gateway-optional-mutual", gateways::optional),
    scenario("gateway-client-names", gateways::names),
    scenario("gateway-misdirected", gateways::misdirected),
    scenario("gateway-tls-versions", gateways::versions),
    scenario("gateway-revoked", gateways::revoked),
    scenario("gateway-load", gateways::load),
    scenario("gateway-cut", gateways::cut),
    scenario("gateway-status", gateways::status),
    offloaded("gateway-kernel-tls", gateways::kernel_tls),
    scenario("forgotten-keys", certificates::forgotten_keys),
    scenario("federation", trust::federation),
    scenario("revoked", trust::revoked),
    scenario("spire-agent", spire::agent),
    scenario("spire-entries", spire::entries),
    scenario("spire-bundles", spire::bundles),
    scenario("operator-commands", operator::commands),
    scenario("metrics-lock", metrics::metrics_lock),
    scenario("service-spread", services::spread),
    scenario("service-no-endpoint", services::no_endpoint),
    scenario("service-dead-endpoint", services::dead_endpoint),
    scenario("integrity", streams::integrity),
    scenario("half-close", streams::half_close),
    scenario("reset", streams::reset),
    scenario("last-words", streams::last_words),
    scenario("urgent", streams::urgent),
    scenario("never-reads", streams::never_reads),
    scenario("thousand-connections", load::thousand),
    scenario("idle-memory", load::idle_memory),
    scenario("garbage", peers::garbage),
    scenario("slow-handshake", peers::slow_handshake),
    scenario("impostor", peers::impostor),
    scenario("key-update", peers::key_update),
    scenario("truncation", peers::truncation),
    scenario("offload-choice", offload::choice),
    scenario("key-limit", offload::key_limit),
    offloaded("offload-both-halves", offload::both_halves),
    offloaded("offload-no-payload", offload::no_payload),
    offloaded("offload-integrity", offload::integrity),
    offloaded("offload-copy", offload::copy),
    offloaded("offload-descriptors", offload::descriptors),
    scenario("offload-quick", offload::quick),
    scenario("peer-records", records::sizes),
    scenario("peer-early-data", records::early_data),
    scenario("peer-truncation", records::truncation),
    scenario("peer-alert", records::alert),
    scenario("peer-garbage", records::garbage),
    scenario("peer-key-update", records::key_update),
    scenario("peer-openssl", records::openssl),
    offloaded("fault-prepare", faults::prepare),
    offloaded("fault-install", faults::install),
    offloaded("fault-killed", faults::killed),
    scenario("envoy-server", envoy::server),
    scenario("envoy-server-refused", envoy::server_refused),
    scenario("envoy-client", envoy::client),
    scenario("envoy-client-refused", envoy::client_refused),
    scenario("envoy-key-update", envoy::key_update),
    scenario("bad-documents", input::bad_documents),
    scenario("vanished-netns", input::vanished_netns),
    scenario("same-address", input::same_address),
    scenario("enrol-running", life::enrol_running),
    scenario("leave", life::leave),
    scenario("replaced", life::replaced),
    scenario("agent-killed-strict", life::agent_killed_strict),
    scenario("agent-killed-permissive", life::agent_killed_permissive),
    scenario("crash-is-no-end", life::crash_is_no_end),
    scenario("restart-finds-changes", life::restart_finds_changes),
    scenario("graceful-stop", life::graceful_stop),
    scenario("graceful-stop-takes", life::taken_while_draining),
];

const fn scenario(
    name: &'static str,
    play: fn(&crate::stage::Stage<'_>) -> anyhow::Result<()>,
) -> Scenario {
    Scenario {
        name,
        play,
        needs: Needs::Nothing,
    }
}

/// A scenario about connections whose keys the kernel has.
const fn offloaded(
    name: &'static str,
    play: fn(&crate::stage::Stage<'_>) -> anyhow::Result<()>,
) -> Scenario {
    Scenario {
        name,
        play,
        needs: Needs::KernelTls,
    }
}
