package steps

import (
	"context"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
)

// upgradePlanStep returns the waves, the findings on each machine, and whether the control plane goes first.
type upgradePlanStep struct{ env *Env }

func (upgradePlanStep) Name() string { return "upgrade-plan" }
func (upgradePlanStep) Outputs() []string {
	return []string{"version", "moves", "grace", "waves", "rollout", "table", "plan"}
}

func (s upgradePlanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		upgradeInput
		Machines string `json:"machines"`
		DryRun   string `json:"dryRun"`
		// Backup is for the template's condition.
		Backup string `json:"backup"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	if err := checkConditions(call, "dryRun", "backup"); err != nil {
		return plugin.Execution{}, err
	}
	var dryRun, ignored bool
	err := parseBools(boolParam{"dryRun", in.DryRun, &dryRun}, boolParam{"scheduled", in.Scheduled, &ignored},
		boolParam{"backup", in.Backup, &ignored})
	if err != nil {
		return plugin.Execution{}, err
	}
	if _, err := in.until(time.Time{}); err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		upgrader, err := s.env.openUpgrade(ctx, call, in.upgradeInput)
		if err != nil {
			return plugin.Result{}, err
		}
		if upgrader.Version, err = resolveVersion(ctx, upgrader, in.Version); err != nil {
			return plugin.Result{}, err
		}
		machines, err := upgrader.Cluster.Select(in.Machines)
		if err != nil {
			return plugin.Result{}, err
		}
		preview, err := upgrader.Plan(ctx, machines, operation.AsText(report))
		if err != nil {
			return plugin.Result{}, err
		}
		if preview.Plan.Until, err = in.until(time.Now()); err != nil {
			return plugin.Result{}, err
		}
		if err := s.checkControlPlane(ctx, call, in.upgradeInput, preview, report); err != nil {
			return plugin.Result{}, err
		}
		s.env.observeUpgradePlan(call, upgrader, preview, dryRun)
		phase := plugin.Succeeded
		if dryRun && len(preview.Refused()) > 0 {
			phase = plugin.Failed
		}
		result := plugin.Result{Phase: phase, Message: preview.String(), Outputs: map[string]string{
			"version": preview.Version, "moves": strconv.FormatBool(preview.Moves),
			"grace": strconv.Itoa(int(upgrader.Cluster.Fleet.Upgrade.ControlPlaneGrace.Seconds())),
			"table": boundTable(preview.Table()), "plan": encodeReport(preview.Entries),
		}}
		if len(preview.Entries) > maxOwnSteps {
			kept, err := s.env.keep(ctx, call, "plan", upgrader.Cluster, preview.Entries)
			if err != nil {
				return plugin.Result{}, err
			}
			result.Outputs["plan"] = encodeReportIn(preview.Entries, kept)
		}
		return result, s.env.rolloutOutputs(ctx, call, upgrader.Cluster, preview.Plan, result)
	}}, nil
}

// checkControlPlane has the control plane's documents and permissions checked before anything is touched.
func (s upgradePlanStep) checkControlPlane(ctx context.Context, call plugin.Call, in upgradeInput,
	preview upgrade.Preview,
	report func(string),
) error {
	if !preview.Moves {
		return nil
	}
	provisioner, err := s.env.provisioner(ctx, call, in.Cluster)
	if err != nil {
		return err
	}
	if provisioner, err = provisioner.To(preview.Version); err != nil {
		return err
	}
	_, err = provisioner.Validate(ctx, report)
	return err
}

// Words for versions.
const (
	versionOfControlPlane = "control-plane"
	versionLatestPatch    = "latest-patch"
)

// parseVersion returns a version as Kubernetes writes it, "v1.34.4", also where the "v" was left out.
func parseVersion(text string) (string, error) {
	parsed, err := version.ParseSemantic(text)
	if err != nil {
		return "", errclass.Errorf(errclass.Configuration, "the parameter \"version\" is %q: give a version such as "+
			"v1.34.4, %s, %s, or nothing for that of vcluster.yaml: %w", text, versionOfControlPlane,
			versionLatestPatch, err)
	}
	return "v" + parsed.String(), nil
}

// resolveVersion returns the version that the parameter means; empty is that of the documents, or that of the control
// plane where they have none or an earlier one.
func resolveVersion(ctx context.Context, upgrader *upgrade.Upgrader, asked string) (string, error) {
	runs := upgrader.Target.Version
	switch asked {
	case versionOfControlPlane:
		return runs, nil
	case versionLatestPatch:
		return upgrader.LatestPatch(ctx)
	case "":
	default:
		return parseVersion(asked)
	}
	if !upgrader.Cluster.NamesVersion() {
		return runs, nil // also where this release has another default
	}
	said := upgrader.Cluster.KubernetesVersion()
	wanted, err := version.ParseSemantic(said)
	if err != nil {
		return runs, nil
	}
	if has, err := version.ParseSemantic(runs); err == nil && upgrader.Cluster.Hosted() && wanted.LessThan(has) {
		return runs, nil
	}
	return said, nil
}
