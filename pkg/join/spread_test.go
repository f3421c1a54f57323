package join_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/spread"
)

// delivered joins a machine that registers when it starts, and returns it.
func delivered(t *testing.T, delivery config.Delivery, others int, reached bool) *fakeMachine {
	t.Helper()
	machine, joiner := deliveries(t, delivery)
	machine.facts.Reached = &reached
	for i := range others {
		joiner.Spread.Expect(fmt.Sprintf("other%d", i))
	}
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	return machine
}

func deliveries(t *testing.T, delivery config.Delivery) (*fakeMachine, *join.Joiner) {
	t.Helper()
	client := newClient()
	machine := &fakeMachine{plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded()}
	machine.onStart = func(spec.Operation) {
		_, err := client.CoreV1().Nodes().Create(t.Context(), readyNode("m1", corev1.ConditionTrue),
			metav1.CreateOptions{})
		assert.Check(t, err)
	}
	joiner := newJoiner(t, machine, client)
	joiner.Cluster.Fleet.Bundles.Delivery = delivery
	joiner.Spread = &spread.Tracker{}
	return machine, joiner
}

func TestAutoSpreadsFromEightMachinesOn(t *testing.T) {
	for _, test := range []struct {
		delivery       config.Delivery
		others         int
		reached        bool
		spread, pulled bool
	}{
		{config.DeliveryAuto, 6, true, false, true},
		{config.DeliveryAuto, 6, false, false, false},
		{config.DeliveryAuto, 7, true, true, false},
		{config.DeliveryAuto, 7, false, true, false},
		{config.DeliverySpread, 0, true, true, false},
		{config.DeliveryPull, 100, false, false, true},
		{config.DeliveryPush, 100, true, false, false},
	} {
		t.Run(fmt.Sprintf("%s, %d others, reached: %v", test.delivery, test.others, test.reached), func(t *testing.T) {
			machine := delivered(t, test.delivery, test.others, test.reached)
			started := machine.started[0]
			assert.Equal(t, started.Spread, test.spread)
			assert.Equal(t, started.Join.Bundle.URL != "", test.pulled)
			if test.spread {
				assert.Equal(t, len(machine.pushed), 0, "it gets pieces instead")
			}
		})
	}
}

func TestASpreadBundleIsOfferedInPieces(t *testing.T) {
	machine, joiner := deliveries(t, config.DeliverySpread)
	got := make(chan string, 1)
	machine.asks = got
	machine.feeds = func(ctx context.Context, open feed.Open) error {
		key := "bundle:" + machine.started[0].Join.Bundle.SHA256
		answer, err := open(ctx, `pieces:{"file":"`+key+`","new":true,"free":1}`)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer)
		assert.Check(t, err)
		assert.Check(t, strings.Contains(string(text), `"send":0`) && strings.Contains(string(text), `"ca":`),
			string(text))
		piece, err := open(ctx, `pieces:{"file":"`+key+`","piece":0}`)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(piece)
		assert.Check(t, err)
		assert.Check(t, string(content) == "bundle", string(content))
		got <- "archive"
		return nil
	}
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, joiner.Spread.Sent(), int64(len("bundle")))
}

func TestTheWayOfDeliveryIsNoPartOfTheOperationsIdentity(t *testing.T) {
	var ids []string
	for _, delivery := range []config.Delivery{config.DeliveryPush, config.DeliverySpread} {
		ids = append(ids, delivered(t, delivery, 0, false).started[0].ID)
	}
	assert.Equal(t, ids[0], ids[1])
}
