package components_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/errclass"
)

func TestVersionsComeFromTheTableAndFromOverrides(t *testing.T) {
	chosen, err := components.Versions("v1.34.4", map[string]string{"containerd": "v2.1.5", "pause": "3.10.5"})
	assert.NilError(t, err)
	assert.DeepEqual(t, chosen, map[string]string{
		"kubernetes": "1.34.4", "containerd": "2.1.5", "runc": "1.5.3", "cni-plugins": "1.9.1", "crictl": "1.34.0",
		"etcd": "3.6.16", "konnectivity": "0.36.0", "pause": "3.10.5", "kine": "0.17.5",
	})
	for name, test := range map[string]struct {
		version   string
		overrides map[string]string
		want      string
	}{
		"no version": {"1.34", nil, "it is not like v1.37.2"},
		"a path":     {"v1.34.4/../..", nil, "it is not like v1.37.2"},
		"unknown component": {
			"v1.34.4",
			map[string]string{"helm": "3.19.0"},
			`"helm": it is none of cni-plugins, containerd`,
		},
		"a component's path": {"v1.34.4", map[string]string{"runc": "1/../2"}, `runc to version "1/../2"`},
		"kubernetes itself":  {"v1.34.4", map[string]string{"kubernetes": "v1.33.0"}, `"kubernetes": it is none of`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := components.Versions(test.version, test.overrides)
			assert.ErrorContains(t, err, test.want)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

func TestUnknownMinorVersionNeedsAllComponents(t *testing.T) {
	all := map[string]string{
		"containerd": "3.0.0", "runc": "2.0.0", "cni-plugins": "2.0.0", "crictl": "1.99.0",
		"etcd": "4.0.0", "konnectivity": "1.0.0", "pause": "4.0", "kine": "1.0.0",
	}
	chosen, err := components.Versions("v1.99.0", all)
	assert.NilError(t, err)
	assert.Equal(t, chosen["etcd"], "4.0.0")
	delete(all, "kine")
	_, err = components.Versions("v1.99.0", all)
	assert.ErrorContains(t, err, "give the version of each")
}

func TestSupportedVersionsLieBetweenOldestAndNewest(t *testing.T) {
	oldest, newest := components.Supported()
	number := func(minor string) int {
		n, err := strconv.Atoi(strings.TrimPrefix(minor, "1."))
		assert.NilError(t, err)
		return n
	}
	first, last := number(oldest), number(newest)
	assert.Assert(t, first < last)
	for version, want := range map[string]bool{
		fmt.Sprintf("v1.%d.0", first):          true,
		fmt.Sprintf("1.%d.4", first):           true,
		fmt.Sprintf("v1.%d.99", last):          true,
		fmt.Sprintf("v1.%d.0-rc.1", last):      true,
		fmt.Sprintf("v1.%d.99", first-1):       false,
		fmt.Sprintf("v1.%d.0-alpha.1", last+1): false,
		fmt.Sprintf("v2.%d.0", last):           false,
		"v1.9.0":                               false,
		"v1.99999999999999999999.0":            false,
		"v1." + strconv.Itoa(last):             false,
		"":                                     false,
	} {
		assert.Equal(t, components.Supports(version), want, version)
	}
	for minor := first; minor <= last; minor++ {
		_, err := components.Versions(fmt.Sprintf("v1.%d.0", minor), nil)
		assert.NilError(t, err)
	}
}
