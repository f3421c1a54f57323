package components_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"
	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/pkg/bundle/components"
)

// checked is the day on which the table was last held against its sources.
const checked = "2026-11-30"

// leaving is how long a minor version stays after its end, for those who have yet to upgrade from it.
const leaving = 183 * 24 * time.Hour

// The day is that of the newest commit, not that of the test: the project's checkout fails as soon as work goes on past
// the end of a row, and a checkout that somebody tests years later does not.
func TestNoRowOfTheTableHasEnded(t *testing.T) {
	assert.DeepEqual(t, ended(components.Rows(), components.Projects(), today(t)), []string(nil))
}

func TestEndedRowsAreFound(t *testing.T) {
	row := func(ends string) []components.Row {
		return []components.Row{{
			Minor: "1.90", Ends: ends, Components: map[string]string{components.Containerd: "9.1.0"},
		}}
	}
	project := func(ends string) []components.Project {
		return []components.Project{{
			Name: components.Containerd, Releases: []components.Release{{Version: "9.1.0", Ends: ends}},
		}}
	}
	for name, test := range map[string]struct {
		rows     []components.Row
		projects []components.Project
		day      string
		want     []string
	}{
		"all are maintained":        {row("2027-02-28"), project("2027-03-01"), "2027-02-28", nil},
		"one may still be left":     {row("2027-02-28"), project("2027-03-01"), "2027-08-29", nil},
		"no date is no end":         {row("2027-02-28"), project(""), "2027-02-28", nil},
		"ended with its Kubernetes": {row("2027-02-28"), project("2027-02-28"), "2027-03-31", nil},
		"half a year has passed": {
			row("2027-02-28"), project(""), "2027-09-01",
			[]string{"Kubernetes 1.90 ended on 2027-02-28: remove its row"},
		},
		"a component ends first": {
			row("2027-06-28"), project("2027-02-28"), "2027-03-01",
			[]string{"containerd 9.1.0 of Kubernetes 1.90 ended on 2027-02-28: take a maintained series"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			day, err := time.Parse(time.DateOnly, test.day)
			assert.NilError(t, err)
			assert.DeepEqual(t, ended(test.rows, test.projects, day), test.want)
		})
	}
}

func TestTheTableIsWholeAndInOrder(t *testing.T) {
	rows := components.Rows()
	for i, row := range rows {
		number, err := strconv.Atoi(strings.TrimPrefix(row.Minor, "1."))
		assert.NilError(t, err)
		if i > 0 {
			assert.Equal(t, fmt.Sprintf("1.%d", number-1), rows[i-1].Minor, "rows follow each other")
			assert.Assert(t, rows[i-1].Ends < row.Ends && rows[i-1].Released < row.Released, row.Minor)
		}
		assert.Assert(t, strings.HasPrefix(row.Newest, row.Minor+"."), row.Newest)
		assertDay(t, row.Released)
		assertDay(t, row.Ends)
		for name, version := range row.Components {
			assertListed(t, name, version)
		}
	}
	for _, name := range []string{
		components.CoreDNS, components.Flannel, components.FlannelCNIPlugin, components.LocalPathProvisioner,
		components.Busybox, components.MetalLB, components.MetricsServer,
	} {
		assertListed(t, name, components.AddonVersion(name))
	}
}

// The API server of 1.37 reads lists as a stream, which a store without that call makes it do in pages.
func TestStoresOf137StreamLists(t *testing.T) {
	chosen, err := components.Versions("v1.37.0", nil)
	assert.NilError(t, err)
	for name, first := range map[string]string{components.Etcd: "v3.7.0", components.Kine: "v0.17.1"} {
		got, err := version.ParseSemantic("v" + chosen[name])
		assert.NilError(t, err)
		assert.Assert(t, got.AtLeast(version.MustParseSemantic(first)), "%s %s", name, got)
	}
}

func TestEveryListedReleaseIsTaken(t *testing.T) {
	for _, project := range components.Projects() {
		assert.Assert(t, strings.HasPrefix(project.Maintenance, "https://"), project.Name)
		assert.Assert(t, strings.HasPrefix(project.Advisories, "https://"), project.Name)
		for _, release := range project.Releases {
			taken := components.AddonVersion(project.Name) == release.Version ||
				slices.ContainsFunc(components.Rows(), func(row components.Row) bool {
					return row.Components[project.Name] == release.Version
				})
			assert.Assert(t, taken, "%s %s is in no row", project.Name, release.Version)
			for _, day := range []string{release.Date, release.Ends} {
				if day != "" {
					assertDay(t, day)
				}
			}
		}
	}
}

// A version that has a known flaw must not come back, whatever changes the table; a reason to keep one ends with it.
func TestNoVersionOfTheTableExposesAKnownFlaw(t *testing.T) {
	open, unreached := []components.Advisory{}, []components.Advisory{}
	for _, advisory := range components.Advisories() {
		if advisory.Unreached == "" {
			open = append(open, advisory)
		} else {
			unreached = append(unreached, advisory)
		}
	}
	assert.DeepEqual(t, flawed(components.Projects(), open), []string(nil))
	for _, advisory := range unreached {
		assert.Equal(t, len(flawed(components.Projects(), []components.Advisory{advisory})), 1,
			"%s is not in the table any more: remove the reason", advisory.ID)
	}
	for _, advisory := range components.Advisories() {
		assertDay(t, advisory.Published)
		assert.Assert(t, advisory.Published <= checked, advisory.ID)
		assert.Assert(t, len(advisory.Fixed) > 0 && advisory.Flaw != "", advisory.ID)
		assert.Assert(t, slices.ContainsFunc(components.Projects(), func(p components.Project) bool {
			return p.Name == advisory.Component && len(p.Releases) > 0
		}), "%s is of no project", advisory.ID)
	}
}

func TestFlawedVersionsAreFound(t *testing.T) {
	advisory := components.Advisory{
		Component: components.Containerd, ID: "CVE-1", Fixed: []string{"1.7.33", "2.1.9", "2.3.2"},
	}
	for number, affected := range map[string]bool{
		"1.6.99": true, "1.7.32": true, "1.7.33": false, "1.7.40": false, "2.0.99": true, "2.1.8": true,
		"2.1.9": false, "2.2.5": true, "2.3.1": true, "2.3.2": false, "2.4.0": false, "3.0.0": false,
		"1.7.33-flannel1": false, "": true, "newest": true,
	} {
		assert.Equal(t, advisory.Affects(number), affected, number)
		projects := []components.Project{
			{Name: components.Containerd, Releases: []components.Release{{Version: number}}},
			{Name: components.Runc, Releases: []components.Release{{Version: "0.1.0"}}},
		}
		want := []string(nil)
		if affected {
			want = []string{"containerd " + number + " has CVE-1: take a version with its fix, 1.7.33, 2.1.9 or 2.3.2"}
		}
		assert.DeepEqual(t, flawed(projects, []components.Advisory{advisory}), want)
	}
}

func TestDocsHaveTheTable(t *testing.T) {
	page, err := filepath.Abs("../../../docs/versions.md")
	assert.NilError(t, err)
	golden.Assert(t, markdown(), page)
}

// flawed returns the versions of projects that have one of the flaws.
func flawed(projects []components.Project, advisories []components.Advisory) []string {
	var found []string
	for _, project := range projects {
		for _, release := range project.Releases {
			for _, advisory := range advisories {
				if advisory.Component == project.Name && advisory.Affects(release.Version) {
					found = append(found, fmt.Sprintf("%s %s has %s: take a version with its fix, %s", project.Name,
						release.Version, advisory.ID, either(advisory.Fixed)))
				}
			}
		}
	}
	return found
}

// either lists versions as "1.7.33, 2.1.9 or 2.3.2".
func either(versions []string) string {
	last := len(versions) - 1
	if last == 0 {
		return versions[0]
	}
	return strings.Join(versions[:last], ", ") + " or " + versions[last]
}

// ended returns the parts of the table that are no longer maintained on that day.
func ended(rows []components.Row, projects []components.Project, day time.Time) []string {
	var found []string
	today := day.Format(time.DateOnly)
	for _, row := range rows {
		if last, err := time.Parse(time.DateOnly, row.Ends); err != nil || day.After(last.Add(leaving)) {
			found = append(found, fmt.Sprintf("Kubernetes %s ended on %s: remove its row", row.Minor, row.Ends))
		}
		for _, project := range projects {
			for _, release := range project.Releases {
				if row.Components[project.Name] == release.Version && release.Ends != "" && release.Ends < today &&
					release.Ends < row.Ends {
					found = append(found, fmt.Sprintf("%s %s of Kubernetes %s ended on %s: take a maintained series",
						project.Name, release.Version, row.Minor, release.Ends))
				}
			}
		}
	}
	return found
}

// today returns the day of the newest commit, or the one on which the table was checked where that is later, as in a
// tree without git.
func today(t *testing.T) time.Time {
	t.Helper()
	day := checked
	out, err := exec.Command("git", "log", "-1", "--format=%cs").Output()
	if committed := strings.TrimSpace(string(out)); err == nil && committed > day {
		day = committed
	}
	found, err := time.Parse(time.DateOnly, day)
	assert.NilError(t, err)
	return found
}

func assertDay(t *testing.T, day string) {
	t.Helper()
	_, err := time.Parse(time.DateOnly, day)
	assert.NilError(t, err)
}

func assertListed(t *testing.T, name, number string) {
	t.Helper()
	at := slices.IndexFunc(components.Projects(), func(p components.Project) bool { return p.Name == name })
	assert.Assert(t, at >= 0, "%s is no project", name)
	assert.Assert(t, slices.ContainsFunc(components.Projects()[at].Releases, func(r components.Release) bool {
		return r.Version == number
	}), "%s %s is not listed", name, number)
}

// markdown returns the table as docs/versions.md has it.
func markdown() string {
	var page strings.Builder
	oldest, newest := components.Supported()
	fmt.Fprintf(&page, `# Versions

For operators who plan an upgrade or mirror what clusters need: the versions of Kubernetes that Argosy supports, %s to
%s, and what goes with each. Kubernetes maintains a minor version for fourteen months; one that has ended stays here for
half a year, as the place where upgrades begin. pkg/bundle/components has the table and writes this page, with
`+"`go test ./pkg/bundle/components -update`"+`; both were held against their sources on %s.

## By version of Kubernetes

| Kubernetes | newest | released | maintained until |`, oldest, newest, checked)
	bundled := []string{
		components.Containerd, components.Runc, components.CNIPlugins, components.Crictl, components.Pause,
		components.Etcd, components.Kine, components.Konnectivity,
	}
	for _, name := range bundled {
		fmt.Fprintf(&page, " %s |", name)
	}
	page.WriteString("\n|" + strings.Repeat("---|", 4+len(bundled)) + "\n")
	for _, row := range components.Rows() {
		fmt.Fprintf(&page, "| %s | %s | %s | %s |", row.Minor, row.Newest, row.Released, row.Ends)
		for _, name := range bundled {
			fmt.Fprintf(&page, " %s |", row.Components[name])
		}
		page.WriteString("\n")
	}
	page.WriteString(`
` + "`argosy bundle build --component`" + ` takes another version of any of them. What runs in a
cluster is the same for all versions of Kubernetes, and its images can be replaced in vcluster.yaml.

## By project

| component | version | released | maintained until | how long | advisories |
|---|---|---|---|---|---|
`)
	for _, project := range components.Projects() {
		for _, release := range project.Releases {
			fmt.Fprintf(&page, "| %s | %s | %s | %s | [policy](%s) | [advisories](%s) |\n", project.Name,
				release.Version, release.Date, release.Ends, project.Maintenance, project.Advisories)
		}
	}
	page.WriteString(`
Where the third column is empty, the project publishes no day; where the fourth is, it maintains its newest series until
the next ones are out.
`)
	page.WriteString(`
## Known flaws

With the day on which each was made known. A test fails when the table takes a version with one of them, unless the last
column has the reason why it is not reached; advisories were last looked up on ` + checked + `.

| component | advisory | published | flaw | fixed in | why it may stay |
|---|---|---|---|---|---|
`)
	for _, advisory := range components.Advisories() {
		fmt.Fprintf(&page, "| %s | [%s](https://www.cve.org/CVERecord?id=%[2]s) | %s | %s | %s | %s |\n",
			advisory.Component, advisory.ID, advisory.Published, advisory.Flaw, strings.Join(advisory.Fixed, ", "),
			advisory.Unreached)
	}
	return page.String()
}
