package initramfs

import "strings"

// What a tree may lack, and what to do.
const (
	missingKernel  = "a kernel: neither /boot/vmlinuz-RELEASE nor /usr/lib/modules/RELEASE/vmlinuz is there; install one, on Debian the package linux-image-cloud-amd64 or linux-image-amd64"
	missingInit    = "an init: neither /sbin/init nor /usr/lib/systemd/systemd is there; install one, on Debian the package systemd-sysv"
	missingModules = "the modules of kernel %s: /usr/lib/modules/%s is not there; install the kernel's package whole"
	missingDep     = "the list of modules /usr/lib/modules/%s/modules.dep; run depmod %s in the tree"
	missingFeature = "%s in kernel %s (neither built in nor as module %s); install a kernel that has it, on Debian linux-image-cloud-amd64 or linux-image-amd64, version 5.10 or newer"
)

// A MissingError says that a guest tree cannot start and names all that it
// lacks.
type MissingError struct {
	Items []string // each what is missing, why it is thought so, and what to do
}

// Error lists what is missing, one a line if there are several.
func (e *MissingError) Error() string {
	if len(e.Items) == 1 {
		return "guest tree lacks " + e.Items[0]
	}
	return "guest tree lacks:\n  - " + strings.Join(e.Items, "\n  - ")
}
