package drain_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// The API server is away every ten minutes, and the budget is five. Between two interruptions
//
//	a pod leaves     the drain goes on
//	none leaves      it fails at the second
func TestADrainThatIsInterruptedFarApartGoesOn(t *testing.T) {
	for name, leaves := range map[string]bool{"a pod leaves": true, "none leaves": false} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			synctest.Test(t, func(t *testing.T) {
				d := drain.Drainer{Client: c, Policy: policy()}
				attempts := 0
				err := operation.Retrying(t.Context(), 5*time.Minute, operation.NoProgress{},
					func(ctx context.Context) error {
						attempts++
						if leaves {
							one := pod(fmt.Sprintf("web-%d", attempts))
							assert.NilError(t, c.Tracker().Create(corev1.SchemeGroupVersion.WithResource("pods"), one,
								one.Namespace))
						}
						if _, err := d.Drain(ctx, "n1", true, operation.NoProgress{}); err != nil {
							return err
						}
						time.Sleep(10 * time.Minute)
						if attempts == 4 {
							return nil
						}
						return errclass.Errorf(errclass.Transient, "etcd has no leader")
					})
				if leaves {
					assert.NilError(t, err)
					return
				}
				assert.ErrorContains(t, err, "etcd has no leader")
				assert.Equal(t, attempts, 2)
			})
		})
	}
}
