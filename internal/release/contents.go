package release

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
)

const rootPackage = "Package-argosy"

// listContents writes the list of contents (SBOM, SPDX 2.3) of all programs: the modules that they are compiled from,
// as the compiler has noted it in each of them.
func (r Release) listContents(*Made) (map[string][]byte, error) {
	modules := map[string]string{}
	for _, platform := range platforms {
		programs := []string{"argosy"}
		if strings.HasPrefix(platform, "linux-") {
			programs = append(programs, imageName)
		}
		for _, program := range programs {
			info, err := buildinfo.ReadFile(r.program(platform, program))
			if err != nil {
				return nil, fmt.Errorf("reading what %q was compiled from: %w", filepath.Join(platform, program), err)
			}
			add(modules, info)
		}
	}
	document := r.document()
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		found := module(path, modules[path])
		document.Packages = append(document.Packages, found)
		document.Relationships = append(document.Relationships,
			relation(rootPackage, found.PackageSPDXIdentifier, common.TypeRelationshipDependsOn))
	}
	var encoded bytes.Buffer
	if err := spdxjson.Write(document, &encoded, spdxjson.Indent("  "), spdxjson.EscapeHTML(false)); err != nil {
		return nil, fmt.Errorf("encoding the list of contents: %w", err)
	}
	return map[string][]byte{fmt.Sprintf("argosy_%s.spdx.json", r.Version): encoded.Bytes()}, nil
}

// add notes the modules of a program, and Go's library.
func add(modules map[string]string, info *debug.BuildInfo) {
	modules["stdlib"] = strings.TrimPrefix(info.GoVersion, "go")
	for _, dependency := range info.Deps {
		if dependency.Replace != nil {
			dependency = dependency.Replace
		}
		modules[dependency.Path] = dependency.Version
	}
}

func (r Release) document() *spdx.Document {
	return &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: "argosy-" + r.Version,
		// Only a name; no page needs to exist at it.
		DocumentNamespace: "https://argosy.dev/spdx/argosy-" + r.Version + "-" + r.Commit,
		CreationInfo: &spdx.CreationInfo{
			Created:  r.Created.UTC().Format(time.RFC3339),
			Creators: []spdx.Creator{{CreatorType: "Tool", Creator: "argosy-release"}},
		},
		Packages: []*spdx.Package{{
			PackageName: "argosy", PackageSPDXIdentifier: rootPackage, PackageVersion: r.Version,
			PackageDownloadLocation: "git+" + source + "@" + r.Commit, PackageLicenseDeclared: "Apache-2.0",
			PackageLicenseConcluded: "NOASSERTION", PackageCopyrightText: "NOASSERTION",
		}},
		Relationships: []*spdx.Relationship{relation("DOCUMENT", rootPackage, common.TypeRelationshipDescribe)},
	}
}

// notAllowed are characters that SPDX does not take in identifiers.
var notAllowed = regexp.MustCompile(`[^A-Za-z0-9.-]`)

func module(path, version string) *spdx.Package {
	return &spdx.Package{
		PackageName: path, PackageVersion: version,
		PackageSPDXIdentifier:   common.ElementID("Package-" + notAllowed.ReplaceAllString(path, "-")),
		PackageDownloadLocation: "NOASSERTION", PackageLicenseDeclared: "NOASSERTION",
		PackageLicenseConcluded: "NOASSERTION", PackageCopyrightText: "NOASSERTION",
		PackageExternalReferences: []*spdx.PackageExternalReference{{
			Category: spdx.CategoryPackageManager, RefType: "purl", Locator: "pkg:golang/" + path + "@" + version,
		}},
	}
}

func relation(from, to common.ElementID, kind string) *spdx.Relationship {
	return &spdx.Relationship{
		RefA: common.DocElementID{ElementRefID: from}, RefB: common.DocElementID{ElementRefID: to}, Relationship: kind,
	}
}
