import com.sun.source.util.JavacTask;
import java.nio.file.Path;
import java.util.List;
import javax.tools.Diagnostic;
import javax.tools.DiagnosticCollector;
import javax.tools.JavaFileObject;
import javax.tools.ToolProvider;

/**
 * Has the compiler parse a file, no more: what the file imports need not be there. Prints each error, and
 * exits with 1 if there is one.
 */
class Parse {
    public static void main(String[] arguments) throws Exception {
        var compiler = ToolProvider.getSystemJavaCompiler();
        var errors = new DiagnosticCollector<JavaFileObject>();
        try (var files = compiler.getStandardFileManager(null, null, null)) {
            var sources = files.getJavaFileObjects(Path.of(arguments[0]));
            var task = (JavacTask) compiler.getTask(null, files, errors, List.of(), null, sources);
            for (var unit : task.parse()) {
                for (var type : unit.getTypeDecls()) {
                    System.out.println(type.getKind());
                }
            }
        }
        var found = errors.getDiagnostics().stream()
                .filter(diagnostic -> diagnostic.getKind() == Diagnostic.Kind.ERROR).toList();
        found.forEach(System.err::println);
        System.exit(found.isEmpty() ? 0 : 1);
    }
}
