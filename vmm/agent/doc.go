// Package agent is the conversation between a host and the agent in its guest.
//
// # Vocabulary
//
// The two ends share one link: a byte stream, in a real guest a virtio-serial
// port. A link carries frames ([Frame]). A frame belongs to a stream, which the
// host opens with a request and the guest ends with a reply; in between both
// may send data. A session is the life of a link between one hello of a host
// and the next: a new host ends what the old one left running.
//
// # Invariants
//
//   - A link has no connection events and may begin with the rest of an older
//     conversation. A frame is what carries the magic and the right checksum;
//     all else is skipped until the guest has answered a hello's nonce.
//   - No stream can hold up another or make either end's memory grow: data is
//     sent only against credit, [Window] bytes per stream and direction.
//   - Read loops never write, so two ends that both write cannot lock up.
//   - A frozen file system thaws by itself.
//
// # The one idea
//
// Streams are named by numbers that mean nothing else, so a [Proxy] can lend
// one link to many clients by renumbering, and credit stays end to end.
//
// The format is specified in docs/format/agent.md.
package agent
