package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// provision compares the way from the first plugin call to an API server that is ready with the floor script. Both make
// their certificates, both run the same programs on the host machine, and both are timed by the same watch.
func (b *bench) provision(ctx context.Context) error {
	floor, err := b.placeFloor(ctx)
	if err != nil {
		return err
	}
	defer floor.remove()
	if err := b.warmUp(ctx); err != nil {
		return err
	}
	var volumes []time.Duration
	ours, theirs, err := b.inTurn(
		func() (time.Duration, error) {
			took, volume, err := b.provisionNew(ctx)
			volumes = append(volumes, volume)
			return took, err
		},
		func() (time.Duration, error) { return floor.run(ctx) })
	if err != nil {
		return err
	}
	volume := median(volumes)
	fmt.Printf("provision ratio=%.2f ours=%.2fs floor=%.2fs volume=%.2fs ratio-without-volume=%.2f (volume: the pod "+
		"waits for the host cluster's storage) rounds=%d\n",
		ours.Seconds()/theirs.Seconds(), ours.Seconds(), theirs.Seconds(), volume.Seconds(),
		(ours-volume).Seconds()/theirs.Seconds(), b.rounds)
	return nil
}

// provisionNew times one control plane, which is then removed, and how much of that time its pod waited for a volume.
func (b *bench) provisionNew(ctx context.Context) (took, volume time.Duration, err error) {
	err = b.withHosted(ctx, "bench-p", nil, func(h *hosted) (err error) {
		waited := make(chan time.Duration, 1)
		watching, stop := context.WithCancel(ctx)
		defer stop()
		go func() { waited <- h.waitsForVolume(watching) }()
		if took, err = until(ctx, h.ready, h.makeControlPlane); err == nil {
			volume = <-waited
		}
		return err
	})
	return took, volume, err
}

// warmUp makes one cluster that is not timed: the first of a host cluster waits for images, the others don't.
func (b *bench) warmUp(ctx context.Context) error {
	if b.warm {
		return nil
	}
	_, _, err := b.provisionNew(ctx)
	b.warm = err == nil
	return err
}

// provisionAgain times the whole workflow's steps on a cluster that needs no changes.
func (b *bench) provisionAgain(ctx context.Context) error {
	return b.withHosted(ctx, "bench-again", nil, func(h *hosted) error {
		if _, err := h.call(ctx, validate, controlPlane, setAddons, verify); err != nil {
			return err
		}
		var times []time.Duration
		for range b.rounds {
			started := time.Now()
			messages, err := h.call(ctx, validate, controlPlane, setAddons, verify)
			times = append(times, time.Since(started))
			if err != nil {
				return err
			}
			for _, step := range []string{controlPlane, setAddons} {
				if changes(messages[step]) {
					return fmt.Errorf("running step %q again: it changed what stood: %s", step, messages[step])
				}
			}
		}
		fmt.Printf("provision-again ours=%.2fs goal=3s (all steps on a standing cluster, with a plugin that has just "+
			"started) rounds=%d\n", median(times).Seconds(), b.rounds)
		return nil
	})
}

// changes returns the changes in a step's summary, which only counts unchanged objects when there was nothing to do.
func changes(message string) bool {
	rest := strings.ReplaceAll(message, "unchanged", "")
	return rest == message || strings.Contains(rest, "created") || strings.Contains(rest, "changed") ||
		strings.Contains(rest, "removed")
}

// controlPlaneFloor is the floor script and its programs, in place on the host machine.
type controlPlaneFloor struct {
	lab     *lab.Lab
	address string
}

const (
	// floorFolder is on the host machine's real disk, as the volumes of its cluster.
	floorFolder = "/var/lib/argosy/bench"
	// floorPort is the API server's; the others take the five after it. All are below the ports that the kernel and the
	// host cluster's Services choose from.
	floorPort = 26443

	forgetFloor = `
ctr --namespace k8s.io images unmount --rm "$1/image" >/dev/null 2>&1 || true
rm -rf --one-file-system "$1"
`
	// The image is mounted as pods have it: they and the floor run the same files, which are in memory for both or for
	// neither.
	placeFloor = forgetFloor + `
mkdir -p "$1/image"
cat >"$1/controlplane-floor.sh"
ctr --namespace k8s.io images mount --expiration 24h "$2" "$1/image" >/dev/null
`
)

// placeFloor brings the script and the all-in-one image's programs to where they run.
func (b *bench) placeFloor(ctx context.Context) (*controlPlaneFloor, error) {
	host, err := b.site.Lab.Spec("host")
	if err != nil {
		return nil, err
	}
	image, err := b.site.Lab.ControlPlaneImage(ctx, site.Version)
	if err != nil {
		return nil, err
	}
	script, err := os.Open(filepath.Join(b.site.Source, "test", "bench", "controlplane-floor.sh"))
	if err != nil {
		return nil, fmt.Errorf("opening the floor script: %w", err)
	}
	defer func() { _ = script.Close() }()
	if _, err := b.site.Lab.ExecInput(ctx, host.Name, script, "sh", "-euc", placeFloor, "sh", floorFolder,
		image); err != nil {
		return nil, fmt.Errorf("placing the floor script on machine %q: %w", host.Name, err)
	}
	return &controlPlaneFloor{lab: b.site.Lab, address: host.Address}, nil
}

func (f *controlPlaneFloor) remove() {
	_, _ = f.lab.Exec(context.Background(), "host", "sh", "-euc", forgetFloor, "sh", floorFolder)
}

// run times one control plane. The script ends with its input, and its children with it.
func (f *controlPlaneFloor) run(ctx context.Context) (time.Duration, error) {
	input, end, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("making a pipe: %w", err)
	}
	defer func() { _ = input.Close() }()
	return until(ctx,
		func(ctx context.Context) error {
			defer func() { _ = end.Close() }()
			access, err := f.access(ctx)
			if err != nil {
				return err
			}
			return readyz(ctx, access)
		},
		func(ctx context.Context) error {
			// It must not be killed, or its processes stay.
			_, err := f.lab.ExecInput(context.WithoutCancel(ctx), "host", input, "bash",
				floorFolder+"/controlplane-floor.sh",
				floorFolder+"/run", floorFolder+"/image/kubernetes", f.address, strconv.Itoa(floorPort))
			return err
		})
}

// access waits for the authority's certificate. The way to an API server's readiness is open to everybody who knows
// that.
func (f *controlPlaneFloor) access(ctx context.Context) (*rest.Config, error) {
	var authority string
	err := wait.PollUntilContextTimeout(ctx, askEvery, patience, true, func(ctx context.Context) (bool, error) {
		// Certificates that the authority signs appear after its own certificate is written.
		out, err := f.lab.Exec(ctx, "host", "sh", "-c", `test -s "$1/apiserver.crt" && cat "$1/ca.crt"`, "sh",
			floorFolder+"/run")
		authority = out
		return err == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for the floor's certificates: %w", err)
	}
	return &rest.Config{
		Host:            fmt.Sprintf("https://%s:%d", f.address, floorPort),
		TLSClientConfig: rest.TLSClientConfig{CAData: []byte(authority)},
	}, nil
}
