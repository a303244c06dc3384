package main

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"satchel/syncer"
	"satchel/syncer/client"
)

func newAdminHandout(a *app) *cobra.Command {
	req := client.HandoutRequest{}
	var to string
	c := &cobra.Command{
		Use:   "handout FILE... --to PRINCIPAL --title TITLE",
		Short: "Add files to the data of many users at once",
		Long: `Adds files and directories to the data layers of users. Their devices fetch them
with the next sync, where they merge like any other change: a file that a user
has at that path already stays, and the one handed out goes beside it. Handing
out the same again changes nothing.`,
		Example: `  satchel admin handout homework.pdf --to group:7b --title "Week 47"
  satchel admin handout exercises/ --to user:ana --title Exercises --into /home/{user}/school`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, argv []string) error {
			req.To = syncer.Principal(to)
			if err := req.To.Check(); err != nil {
				return usageError{err}
			}
			for _, path := range argv { // before the server is asked
				if _, err := os.Lstat(path); err != nil {
					return err
				}
			}
			login, err := a.adminLogin(c.Context())
			if err != nil {
				return err
			}
			admin, err := login.client()
			if err != nil {
				return err
			}
			files := packFiles(argv)
			defer files.Close()
			out, err := admin.Handout(c.Context(), req, files)
			if err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) { writeHandout(w, &out) })
		},
	}
	c.Flags().StringVar(&to, "to", "", "user:NAME, group:NAME or all (required)")
	c.Flags().StringVar(&req.Title, "title", "", "what it is; names the files that cannot take their own name (required)")
	c.Flags().StringVar(&req.Into, "into", "/home/{user}/Handouts", "directory in the guest; {user} is the owner of each data layer")
	c.Flags().StringVar(&req.Workspace, "workspace", "", "only the data of workspaces of that name")
	c.MarkFlagRequired("to")    //nolint:errcheck // the flag is defined above
	c.MarkFlagRequired("title") //nolint:errcheck // the flag is defined above
	return c
}

// packFiles returns a tar stream of files and directories, each under its own
// name. Closing it ends the packing.
func packFiles(paths []string) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		for _, path := range paths {
			if err := packFile(tw, path); err != nil {
				w.CloseWithError(err) //nolint:errcheck // it returns nil always
				return
			}
		}
		w.CloseWithError(tw.Close()) //nolint:errcheck // it returns nil always
	}()
	return r
}

func packFile(tw *tar.Writer, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	parent := filepath.Dir(path)
	return filepath.Walk(path, func(name string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() && !info.IsDir() {
			return fmt.Errorf("%s: only files and directories can be handed out", name)
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(parent, name); err != nil {
			return err
		}
		h.Format = tar.FormatPAX
		if err := tw.WriteHeader(h); err != nil || info.IsDir() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(tw, f)
		return err
	})
}

func writeHandout(w io.Writer, out *syncer.Handout) {
	fmt.Fprintf(w, "%q: %s, %s\n", out.Title, count(int(out.Files), "file"), size(out.Bytes))
	table(w, func(w io.Writer) {
		fmt.Fprintln(w, "USER\tLAYER\tRESULT")
		for _, l := range out.Layers {
			result := l.Version.Short()
			switch {
			case l.Error != "":
				result = "failed: " + l.Error
			case len(l.Kept) > 0:
				result += fmt.Sprintf(" (%d files beside the user's own)", len(l.Kept))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", l.Owner, l.Layer, result)
		}
	})
}
