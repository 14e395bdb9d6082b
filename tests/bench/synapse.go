package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const synapseVersion = "1.163.2"

//go:embed synapse.yaml
var synapseConfiguration string

//go:embed synapse-log.yaml
var synapseLogConfiguration string

// Synapse is the server that we compare with.
func Synapse(cache string) Software {
	return Software{Name: "synapse", readyPath: "/health", launch: launchSynapse(cache), accounts: synapseAccounts}
}

// launchSynapse runs Synapse from PyPI out of the cache folder, where it is installed on first use.
func launchSynapse(cache string) launcher {
	return func(ctx context.Context, directory, address string, database *Postgres) (*exec.Cmd, string, error) {
		python, err := installSynapse(ctx, cache)
		if err != nil {
			return nil, "", err
		}
		configuration := strings.NewReplacer(
			"{port}", fmt.Sprint(portOf(address)),
			"{directory}", directory,
			"{authority}", filepath.Join(directory, authorityFile),
			"{socket}", database.Socket,
			"{database}", database.Database,
		).Replace(synapseConfiguration)
		file := filepath.Join(directory, "homeserver.yaml")
		if err := os.WriteFile(file, []byte(configuration), 0o644); err != nil {
			return nil, "", err
		}
		if err := os.WriteFile(filepath.Join(directory, "log.yaml"), []byte(synapseLogConfiguration), 0o644); err != nil {
			return nil, "", err
		}
		arguments := []string{"-m", "synapse.app.homeserver", "-c", file}
		if _, err := os.Stat(filepath.Join(directory, "signing.key")); err != nil {
			keys := exec.CommandContext(ctx, python, append(arguments, "--generate-keys")...)
			if output, err := keys.CombinedOutput(); err != nil {
				return nil, "", fmt.Errorf("generating keys: %w: %s", err, output)
			}
		}
		command := exec.Command(python, arguments...)
		command.Dir = directory
		version := synapseVersion
		if library := installJemalloc(ctx, cache); library != "" {
			command.Env = append(os.Environ(), "LD_PRELOAD="+library)
			version += " with jemalloc"
		}
		return command, version, nil
	}
}

// installSynapse makes the virtual environment unless it is there, and returns its interpreter.
func installSynapse(ctx context.Context, cache string) (string, error) {
	environment := filepath.Join(cache, "synapse-"+synapseVersion)
	python := filepath.Join(environment, "bin", "python")
	if exec.CommandContext(ctx, python, "-c", "import synapse, psycopg2").Run() == nil {
		return python, nil
	}
	progress("installing Synapse %s from PyPI", synapseVersion)
	steps := [][]string{
		{"python3", "-m", "venv", "--clear", environment},
		{python, "-m", "pip", "install", "--quiet", "matrix-synapse==" + synapseVersion, "psycopg2-binary"},
	}
	for _, step := range steps {
		if output, err := exec.CommandContext(ctx, step[0], step[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", strings.Join(step, " "), err, output)
		}
	}
	return python, nil
}

// installJemalloc finds or unpacks the allocator that Synapse's official image preloads. Without it Synapse takes more
// memory, so the report says which it was.
func installJemalloc(ctx context.Context, cache string) string {
	folder := filepath.Join(cache, "jemalloc")
	find := func() string {
		for _, pattern := range []string{"/usr/lib/*/libjemalloc.so.2", folder + "/usr/lib/*/libjemalloc.so.2"} {
			if found, _ := filepath.Glob(pattern); len(found) > 0 {
				return found[0]
			}
		}
		return ""
	}
	if library := find(); library != "" || os.MkdirAll(folder, 0o755) != nil {
		return library
	}
	fetch := "apt-get -qq -o APT::Sandbox::User=root download libjemalloc2 && dpkg-deb -x libjemalloc2_*.deb ."
	command := exec.CommandContext(ctx, "sh", "-c", fetch)
	command.Dir = folder
	if err := command.Run(); err != nil {
		progress("no jemalloc for Synapse: %v", err)
	}
	return find()
}
