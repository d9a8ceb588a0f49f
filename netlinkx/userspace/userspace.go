// SPDX-License-Identifier: MIT

// Package userspace is one embedded wireguard-go device: its TUN, its UAPI
// socket, and the life of the process that serves them.
//
// It configures nothing: keys, peers and ports come in over the UAPI socket
// from whoever speaks it. It knows nothing of the rest of wgctl.
package userspace
