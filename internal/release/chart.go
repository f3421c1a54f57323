package release

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/internal/count"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"sigs.k8s.io/yaml"
)

// The types of a chart in a registry, which Helm documents.
const (
	chartConfigType types.MediaType = "application/vnd.cncf.helm.config.v1+json"
	chartType       types.MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// chart packs the chart as a file.
func (r Release) chart(made *Made) (map[string][]byte, error) {
	packed, chart, err := r.PackChart()
	made.Chart = chart
	return map[string][]byte{fmt.Sprintf("%s-%s.tgz", chartName, r.number()): packed}, err
}

// PackChart returns the chart with the release's version and image, as an archive and as a registry holds it. Helm's
// own packing puts the present time into the archive.
func (r Release) PackChart() (packed []byte, chart v1.Image, err error) {
	entries, err := read(filepath.Join(r.Checkout, "charts", chartName), chartName, func(string) bool { return true })
	if err != nil {
		return nil, nil, err
	}
	const metadata = chartName + "/Chart.yaml"
	err = edit(entries, map[string][]change{
		metadata: {
			{`(?m)^version: .*$`, "version: " + r.number()}, {`(?m)^appVersion: .*$`, "appVersion: " + r.Version},
		},
		chartName + "/values.yaml": {{`(?m)^  repository: .*$`, "  repository: " + r.repository()}},
	})
	if err != nil {
		return nil, nil, err
	}
	if packed, err = r.gzipped(entries); err != nil {
		return nil, nil, err
	}
	at := slices.IndexFunc(entries, func(e entry) bool { return e.name == metadata })
	config, err := yaml.YAMLToJSON(entries[at].content)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding Chart.yaml: %w", err)
	}
	annotations, err := r.chartAnnotations(config)
	if err != nil {
		return nil, nil, err
	}
	chart, err = artifactOf(config, chartConfigType, packed, chartType, nil, annotations)
	return packed, chart, err
}

func (r Release) chartAnnotations(config []byte) (map[string]string, error) {
	var metadata struct{ Name, Description string }
	if err := json.Unmarshal(config, &metadata); err != nil {
		return nil, fmt.Errorf("decoding Chart.yaml: %w", err)
	}
	return map[string]string{
		"org.opencontainers.image.title": metadata.Name, "org.opencontainers.image.description": metadata.Description,
		"org.opencontainers.image.version": r.number(), "org.opencontainers.image.source": source,
		"org.opencontainers.image.created": r.Created.UTC().Format(time.RFC3339),
	}, nil
}

// bases are the folders that "kubectl apply -k" takes, with the release's image, and the examples beside them.
func (r Release) bases(*Made) (map[string][]byte, error) {
	root := "argosy-" + r.Version
	var entries []entry
	for _, folder := range []string{"install", "workflows", "examples"} {
		found, err := read(filepath.Join(r.Checkout, folder), root+"/"+folder, func(name string) bool {
			return strings.HasSuffix(name, ".yaml")
		})
		if err != nil {
			return nil, err
		}
		entries = append(entries, found...)
	}
	err := edit(entries, map[string][]change{root + "/install/kustomization.yaml": {
		{`(?m)^    newName: .*$`, "    newName: " + r.repository()},
		{`(?m)^    newTag: .*$`, "    newTag: " + r.Version},
	}})
	if err != nil {
		return nil, err
	}
	packed, err := r.gzipped(entries)
	return map[string][]byte{fmt.Sprintf("argosy_%s_kustomize.tar.gz", r.Version): packed}, err
}

// change replaces the one match of an expression in a file.
type change struct{ expression, with string }

// edit makes changes in entries, by their names. A change that has not exactly one place is an error.
func edit(entries []entry, changes map[string][]change) error {
	for name, wanted := range changes {
		for _, c := range wanted {
			expression, places := regexp.MustCompile(c.expression), 0
			for i := range entries {
				if entries[i].name == name {
					places += len(expression.FindAllIndex(entries[i].content, -1))
					entries[i].content = expression.ReplaceAllLiteral(entries[i].content, []byte(c.with))
				}
			}
			if places != 1 {
				return fmt.Errorf("setting %q in %q: %s for %q instead of one", c.with, name,
					count.Of(places, "line"), c.expression)
			}
		}
	}
	return nil
}
