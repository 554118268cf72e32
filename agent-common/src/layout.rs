//! Sizes, alignments and offsets, checked when either side is compiled; and the agent's right to copy.

use core::mem::{align_of, offset_of, size_of};

use crate::{
    Address, AgentState, Destination, Event, ListenKey, ListenerKey, OriginalDestination, PeerKey,
    PortMode, SourceKey, WireFlow, WireKey, WireTotals, Workload,
    framing::{Counts, Stream},
};

macro_rules! layout {
    ($type:ty, size $size:literal, align $align:literal $(, $field:ident @ $offset:literal)*) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() == $align);
            $(assert!(offset_of!($type, $field) == $offset);)*
        };
        #[cfg(feature = "user")]
        #[expect(unsafe_code, reason = "aya's marker for types it may copy to and from maps")]
        // SAFETY: the type is `repr(C)` or `repr(transparent)`, its fields are integers and arrays of them,
        // any bit pattern is valid, and the assertion above leaves no room for implicit padding.
        unsafe impl aya::Pod for $type {}
    };
}

layout!(Address, size 16, align 1);
layout!(PortMode, size 4, align 2, port @ 0, mode @ 2);
layout!(Workload, size 176, align 4, address_v4 @ 0, address_v6 @ 16, outbound_v4 @ 32,
    outbound_v6 @ 34, mode @ 36, outbound_on_loss @ 40, permissive_on_loss @ 44, ports @ 48);
layout!(Destination, size 8, align 4, on_loss @ 0);
layout!(AgentState, size 24, align 8, lease_expires @ 0, cgroup @ 8, pods @ 16);
layout!(OriginalDestination, size 24, align 2, address @ 0, port @ 16);
layout!(SourceKey, size 32, align 8, netns @ 0, address @ 8, port @ 24);
layout!(PeerKey, size 32, align 8, netns @ 0, address @ 8, port @ 24, local_port @ 26);
layout!(ListenKey, size 16, align 8, netns @ 0, port @ 8);
layout!(ListenerKey, size 16, align 8, netns @ 0, version @ 8);
layout!(Event, size 32, align 8, kind @ 0, port @ 4, netns @ 8, address @ 16);
layout!(WireKey, size 48, align 8, netns @ 0, local @ 8, remote @ 24, local_port @ 40, remote_port @ 42);
layout!(Counts, size 40, align 8, records @ 0, tls @ 8, plaintext @ 16, unclassified @ 24, repeated @ 32);
layout!(Stream, size 80, align 8, next @ 0, remaining @ 4, head @ 8, start @ 16, have @ 20, phase @ 21,
    opening @ 22, trial @ 23, kinds @ 24, began @ 25, left @ 28, lock @ 32, counts @ 40);
layout!(WireFlow, size 176, align 8, streams @ 0, seen @ 160, closed @ 168, opener @ 169, doubted @ 170);
layout!(WireTotals, size 88, align 8, ways @ 0, strict @ 80);
